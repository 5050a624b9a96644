"""The process that serves the review app: `medres app` starts it and tells it everything through standard input.

The port is taken first, so that nobody else can listen there, and said once the scores and the verdicts are open: what
is damaged or missing is told before there is an address. Decoding happens in worker processes, which import this file
by another name: nothing but the guarded lines below may run in them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path


def _end_with_parent() -> None:
    """`medres app` holds the other end open for as long as it lives."""
    while sys.stdin.buffer.read(1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from medres.review.server import Start, listen

    start = Start.of(sys.stdin.buffer.readline().decode("utf-8"))
    try:
        listening = listen(start.port)
    except OSError as error:
        sys.stdout.write(f"{error.strerror}\n")
        return
    telling = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nobody reads more than the port
    threading.Thread(target=_end_with_parent, daemon=True).start()

    import options

    options.forget_environment()
    from gate import run

    from medres.errors import MedresError

    def ready() -> None:
        telling.writelines([f"{listening.getsockname()[1]}\n"])
        telling.close()

    try:
        run(start, listening, ready)
    except MedresError as error:
        sys.stderr.write(f"medres: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    _main()
