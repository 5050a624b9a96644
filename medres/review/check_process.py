"""The process that computes scores again, beside the app and at its pace: `python -m medres.review.check_process`.

It reads one line of JSON per question from standard input and answers each with one on standard output. The first line
names the folders; the process ends when its input does, so that none outlives the app.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

from pydantic import BaseModel, ConfigDict

from medres.errors import DeviceError, MedresError, Refused
from medres.review.sent import Check, ShownMaps


class Folders(BaseModel):
    """The first line: where the model and the scores are, and where to compute."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    scores: tuple[str, ...]
    model: str
    device: str


class Question(BaseModel):
    """Which case is to be computed again; with a label and a method, only that heatmap."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    label: str = ""
    method: str = ""


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    if hasattr(os, "nice"):
        os.nice(5)  # pictures come first
    questions = sys.stdin
    folders = Folders.model_validate_json(questions.readline())
    serve(folders, questions, answers)


def serve(folders: Folders, questions: TextIO, answers: TextIO) -> None:
    """Load the model, and answer question after question; a model that cannot be loaded is every answer."""
    from pathlib import Path

    from medres.review.heatmaps import METHODS, OWN, shown_maps
    from medres.review.recomputing import Recomputation

    found: Recomputation | None = None
    failed = Check(state="waiting")
    try:
        found = Recomputation.open([*map(Path, folders.scores)], Path(folders.model), device=folders.device)
    except DeviceError as error:
        failed = Check(state="unchecked", text=str(error))
    except MedresError as error:
        failed = Check(state="refused", text=str(error))

    def answer(question: Question) -> Check:
        case = found.worklist.find(question.key) if found else None
        if found is None or case is None:
            return failed if found is None else Check(state="unchecked", text="there is no such image in this list")
        try:
            if question.method in METHODS and question.method != OWN:
                other = found.explain_otherwise(case, question.label, question.method)
                return Check(state="same", maps={question.label: shown_maps(question.label, other)})
            opened = found.open_case(case)
        except Refused as refusal:
            return Check(state="refused", text=str(refusal))
        except MedresError as error:
            return Check(state="unchecked", text=str(error))
        maps: dict[str, ShownMaps] = {label: shown_maps(label, one) for label, one in opened.heatmaps.items()}
        return Check(state="same", maps=maps)

    for line in questions:
        answers.write(answer(Question.model_validate_json(line)).model_dump_json() + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
