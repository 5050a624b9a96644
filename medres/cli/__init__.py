"""The command line: verbs, options and exit codes; every heavy import is inside its verb."""

from __future__ import annotations

import os
import signal
import sys

import click

from medres.cli import cohort, machine, models, results, scoring, training
from medres.cli.group import medres
from medres.errors import MedresError

__all__ = ["cohort", "machine", "main", "medres", "models", "results", "scoring", "training"]

EXIT_INTERRUPTED = 130


def _interrupt(*_: object) -> None:
    """SIGTERM and SIGHUP end a run as Ctrl-C does: what was finished is kept, locks are let go."""
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; a refusal is one clear line and an exit code, never a traceback."""
    debug = "--debug" in sys.argv
    # Threads that wait by spinning make two trainings on one machine many times slower than one after the other.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, _interrupt)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup it is ignored
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        sys.exit(medres.main(standalone_mode=False) or 0)
    except click.exceptions.Abort:
        sys.exit(EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        click.echo("medres: interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except click.exceptions.Exit as ending:
        sys.exit(ending.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except MedresError as error:
        if debug:
            raise
        click.echo(f"medres: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if debug:
            raise
        place = f": {error.filename}" if error.filename else ""
        click.echo(f"medres: {error.strerror or error}{place} (--debug shows where)", err=True)
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        click.echo(f"medres: unexpected {type(error).__name__}: {text} (--debug shows where)", err=True)
        sys.exit(1)
