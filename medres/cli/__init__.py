"""The command line: verbs, options and exit codes; every heavy import is inside its verb."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback

import click

from medres.cli import cohort, explaining, machine, models, results, scoring, training, verdicts
from medres.cli.group import medres
from medres.errors import MedresError
from medres.safe_text import visible_streams
from medres.terminal import note

__all__ = ["cohort", "explaining", "machine", "main", "medres", "models", "results", "scoring", "training", "verdicts"]

EXIT_INTERRUPTED = 130


def _interrupt(*_: object) -> None:
    """SIGTERM and SIGHUP end a run as Ctrl-C does: what was finished is kept, locks are let go."""
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; a refusal is one clear line and an exit code, never a traceback.

    What files, tables and folders say of themselves is shown, and steers no terminal: see `medres.safe_text`.
    """
    with visible_streams():
        try:
            _run()
        except SystemExit as ending:
            note(logging.INFO, f"ended with exit code {ending.code or 0}")
            raise


def _say(text: str, *, debug: bool = False) -> None:
    """The one line that says why a command failed; where people debug, the traceback says it."""
    note(logging.ERROR, text)
    if debug:
        traceback.print_exc()
    else:
        click.echo(f"medres: {text}", err=True)


def _run() -> None:
    debug = "--debug" in sys.argv
    # Threads that wait by spinning make two trainings on one machine many times slower than one after the other.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "WORLD_SIZE" in os.environ:  # torch advises against what `distributed.adding_up` needs, in every process
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    signal.signal(signal.SIGTERM, _interrupt)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup it is ignored
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        sys.exit(medres.main(standalone_mode=False) or 0)
    except click.exceptions.Abort:
        sys.exit(EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(EXIT_INTERRUPTED)
    except click.exceptions.Exit as ending:
        sys.exit(ending.exit_code)
    except click.ClickException as error:
        note(logging.ERROR, error.format_message())
        error.show()
        sys.exit(error.exit_code)
    except MedresError as error:
        _say(" ".join(str(error).split()), debug=debug)
        sys.exit(error.exit_code)
    except OSError as error:  # the system's word on a file: a name too long, a disk that is full
        named = f"{str(error.filename)[:300]}: " if error.filename else ""
        _say(f"{named}{error.strerror or error} (--debug shows where)", debug=debug)
        sys.exit(1)
    except Exception as error:  # noqa: BLE001  the last boundary: whatever it is, it is one sentence
        text = " ".join(str(error).split()) or type(error).__name__
        _say(f"unexpected {type(error).__name__}: {text} (--debug shows where)", debug=debug)
        sys.exit(1)
