"""What scoring costs before it has scored much: CPU-seconds of `medres score` of one file, and of `import torch`.

    python -m tests.benchmarks.startup [--rounds 7]

Both are whole processes with their children, run in turn with cached bytecode, so that only the ratio counts. JSON goes
to standard output; the exit code is 1 where the promised ratio is not reached.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.timing import finish, in_turn, medians, ratio, versions
from tests.support.format3 import write_format3
from tests.support.phantoms import blob, write_radiograph

PROMISED = 1.6
"""CPU-seconds of scoring one file as a multiple of those of importing torch, at most."""


def main() -> None:
    """Measure, print, and say whether what was promised is reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as home:
        found = measure(Path(home), rounds)
    unmet = ["score"] if found["ratio"] > PROMISED else []
    finish({"versions": versions("torch", "medres"), **found}, unmet)


def measure(folder: Path, rounds: int) -> dict[str, Any]:
    """CPU-seconds of both, and the median of the rounds' ratios."""
    model = write_format3(folder / "format3") / "model"
    write_radiograph(folder / "incoming" / "a.dcm", blob(3, bright=True), patient="1", uid="2.25.1")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "XDG_CONFIG_HOME": str(folder / "configuration")}
    asked = ["score", str(model), str(folder / "incoming"), "--out", str(folder / "out"), "--force"]
    commands = {
        "score": [sys.executable, "-c", "from medres.cli import main; main()", *asked],
        "import torch": [sys.executable, "-c", "import torch"],
    }
    seconds = in_turn(
        {name: lambda command=command: _processor_seconds(command, environment) for name, command in commands.items()},
        rounds=rounds,
    )
    return {"processor_s": medians(seconds), "ratio": ratio(seconds, "score", "import torch")}


def _processor_seconds(command: Sequence[str], environment: dict[str, str]) -> float:
    """CPU-seconds of a process and its children, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
