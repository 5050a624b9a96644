"""The command itself: what every verb shares."""

from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path

import click

from medres import __version__
from medres.safe_text import unfiltered
from medres.terminal import LogFile, configure_logging


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="medres")
@click.option("--debug", is_flag=True, help="Show a traceback when something fails, and more log lines.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Form of log lines.")
@click.option(
    "--log-file",
    type=click.Path(path_type=Path),
    help="Also append log lines, with date and level, to this file; logrotate may move it away at any time.",
)
@click.pass_context
def medres(context: click.Context, debug: bool, log_format: str, log_file: Path | None) -> None:
    """Turn ImageNet-pretrained ResNets into DICOM radiograph classifiers that can be audited.

    Exit codes: 0 all done, 1 failure, 2 usage or configuration, 3 finished, but some inputs were refused or
    `check` found problems, 4 nothing to do where that was asked to fail, 130 interrupted. `train` and `crossval` end
    with 0 and list what they could not use in refused.csv.

    Not a medical device: not for diagnostic use.
    """
    output = unfiltered(sys.stdout)
    if isinstance(output, io.TextIOWrapper):
        output.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    file, as_json = None, log_format == "json"
    if log_file and os.environ.get("RANK", "0") == "0":
        file = LogFile(log_file, f"medres {__version__}: {context.invoked_subcommand} begins", as_json=as_json)
    configure_logging(verbose=debug, as_json=as_json, file=file)
    if os.environ.get("RANK", "0") != "0":  # of several processes (torchrun) the first speaks for all
        logging.disable(logging.WARNING)
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  it lives as long as the process
