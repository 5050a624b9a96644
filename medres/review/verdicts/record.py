"""One reader's word on one label of one image: a frozen record, and what is refused as one."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Literal, get_args

from pydantic import TypeAdapter, ValidationError

from medres.documents import fault
from medres.errors import StoreError
from medres.review.names import fault_of_name
from medres.tables import sha256_json

Opinion = Literal["agree", "disagree", "unsure", "own", "skipped"]
"""What a reader says of a model's call at its operating point; `own`: a grade instead; `skipped`: nothing, and why."""

Helpfulness = Literal["", "helped", "misled", "neither", "not seen"]
"""What the heatmap did, as the reader says; "" where they do not say."""

LONGEST_COMMENT = 4000  # characters
LONGEST_NAME = 200  # characters, of readers, labels and models
MOST_MARKS = 200
_LARGEST = 1e6  # pixels: no radiograph has as many rows or columns
_AT_LEAST = re.compile(r"_ge_([0-9]{1,9})$")  # a label of grades: see `medres.cohort.tasks.Task.labels`


@dataclass(frozen=True, slots=True)
class Mark:
    """What a reader drew, in native pixels: (0, 0) is the upper left corner of the first pixel, x runs along a row."""

    kind: Literal["point", "box"]
    x: float
    y: float
    width: float = 0.0  # of a box
    height: float = 0.0
    meaning: str = ""  # in the reader's words


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one reader said of one label of one image."""

    sop_instance_uid: str  # or the SHA-256 of the file, where several scored images have the same SOPInstanceUID
    model_id: str
    label: str
    verdict: Opinion
    reviewer: str
    comment: str = ""
    created_at: datetime | None = None  # UTC; set when saved
    revision: int = 0  # 1 for the first verdict of anybody on a label of an image; set when saved
    confidence: int | None = None  # how sure the reader is, per cent
    grade: str = ""  # the reader's own, of the whole finding, where `verdict` is `own`
    corrected_label: str = ""  # what the reader would call it instead
    marks: tuple[Mark, ...] = ()
    heatmap: Helpfulness = ""
    skip_reason: str = ""  # where `verdict` is `skipped`
    seconds_in_view: float | None = None  # how long the picture was in view; None: not measured
    heatmap_shown: bool | None = None  # whether the reader had the heatmap before their eyes; None: not known
    called: Literal[0, 1] | None = (
        None  # what the model said at its operating point; None: verdicts of earlier versions
    )
    probability: float | None = None  # what the model said, calibrated


_DEFAULTS = {field.name: field.default for field in fields(Verdict)}
_MARKS: TypeAdapter[tuple[Mark, ...]] = TypeAdapter(tuple[Mark, ...])


def marks_text(marks: tuple[Mark, ...]) -> str:
    """Marks as the JSON that a database keeps.

    >>> marks_text((Mark("point", 1.5, 2.0),)), marks_text(())
    ('[{"kind": "point", "x": 1.5, "y": 2.0, "width": 0.0, "height": 0.0, "meaning": ""}]', '[]')
    """
    return json.dumps([asdict(mark) for mark in marks], ensure_ascii=False)


def read_marks(text: str | bytes) -> tuple[Mark, ...]:
    """Marks from what `marks_text` wrote, or from what a page sent.

    Raises:
        StoreError: the text is not that.
    """
    try:
        return _MARKS.validate_json(text)
    except ValidationError as error:
        raise StoreError(f"the marks are not marks: {fault(error)}; nothing was saved") from None


def digest(verdict: Verdict) -> str:
    """The SHA-256 that an audit trail holds of a saved verdict; fields that a later version adds do not change it."""
    said = {name: value for name, value in asdict(verdict).items() if value != _DEFAULTS[name]}
    if verdict.created_at is not None:
        said["created_at"] = verdict.created_at.astimezone(UTC).isoformat(timespec="microseconds")
    return sha256_json(said)


def checked(verdict: Verdict) -> Verdict:
    """The verdict with its texts stripped and its seconds rounded.

    Raises:
        StoreError: it contradicts itself, or a database could not return what it was given. Nothing of a text is lost
            by that: whoever asked still has it, and a page keeps it as a draft.
    """
    clean = replace(
        verdict,
        reviewer=verdict.reviewer.strip(),
        comment=verdict.comment.strip(),
        grade=verdict.grade.strip(),
        corrected_label=verdict.corrected_label.strip(),
        skip_reason=verdict.skip_reason.strip(),
        marks=tuple(_plain(mark) for mark in verdict.marks),
        seconds_in_view=None if verdict.seconds_in_view is None else round(float(verdict.seconds_in_view), 1),
        probability=None if verdict.probability is None else float(verdict.probability),
    )
    complaint = _fault_of_texts(clean) or _fault_of_answers(clean) or _fault_of_marks(clean.marks)
    if complaint:
        raise StoreError(f"{complaint}; nothing was saved")
    return clean


def _plain(mark: Mark) -> Mark:
    """A mark whose numbers are what a database gives back: 1 and 1.0 have different hashes."""
    x, y, width, height = (float(side) for side in (mark.x, mark.y, mark.width, mark.height))
    return replace(mark, x=x, y=y, width=width, height=height, meaning=mark.meaning.strip())


def _fault_of_texts(verdict: Verdict) -> str:
    needed = {"the image's SOPInstanceUID", "the model's name", "the label", "the reviewer's name"}
    for name, text, longest in (
        ("the image's SOPInstanceUID", verdict.sop_instance_uid, 64),  # a SHA-256 has 64, too
        ("the model's name", verdict.model_id, LONGEST_NAME),
        ("the label", verdict.label, LONGEST_NAME),
        ("the reviewer's name", verdict.reviewer, LONGEST_NAME),
        ("the comment", verdict.comment, LONGEST_COMMENT),
        ("the grade", verdict.grade, LONGEST_NAME),
        ("the corrected label", verdict.corrected_label, LONGEST_NAME),
        ("the reason for skipping", verdict.skip_reason, LONGEST_COMMENT),
        *(("what a mark means", mark.meaning, LONGEST_NAME) for mark in verdict.marks),
    ):
        if not text and name in needed:
            return f"{name} is missing"
        if complaint := fault_of_text(name, text, longest):
            return complaint
    return fault_of_name(verdict.reviewer)


def fault_of_text(name: str, text: str, longest: int) -> str:
    """Why a text cannot be kept; "" where it can."""
    if len(text) > longest:
        return f"{name} has {len(text)} characters, and at most {longest} are kept"
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        return f"{name} holds characters that are not text"
    return ""


def _fault_of_answers(verdict: Verdict) -> str:
    if verdict.verdict not in get_args(Opinion):
        return f"a verdict is one of {', '.join(get_args(Opinion))}, not {verdict.verdict!r}"
    if verdict.heatmap not in get_args(Helpfulness):
        return f"a heatmap helped, misled, did neither or was not seen, and was not {verdict.heatmap!r}"
    if verdict.verdict == "own" and not verdict.grade:
        return "a grade of one's own is missing"
    if verdict.verdict == "skipped" and not verdict.skip_reason:
        return "the reason for skipping is missing"
    if verdict.confidence is not None and not 0 <= verdict.confidence <= 100:
        return f"a confidence is 0 to 100 per cent, and was {verdict.confidence}"
    seconds = verdict.seconds_in_view
    if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
        return "the seconds in view are no length of time"
    if verdict.called not in (None, 0, 1) or not (verdict.probability is None or 0 <= verdict.probability <= 1):
        return "what the model said is no probability with its call"
    return ""


def _fault_of_marks(marks: tuple[Mark, ...]) -> str:
    if len(marks) > MOST_MARKS:
        return f"{len(marks)} marks are too many: at most {MOST_MARKS} are kept"
    for mark in marks:
        sides = (mark.x, mark.y, mark.width, mark.height)
        if mark.kind not in ("point", "box") or not all(
            math.isfinite(side) and abs(side) <= _LARGEST for side in sides
        ):
            return "a mark is a point or a box in pixels of the image"
        if (mark.kind == "box") != (mark.width > 0 and mark.height > 0):
            return "a box has a width and a height, and a point has neither"
    return ""


def answer(verdict: Verdict, called: int | None = None) -> int | None:
    """What the reader holds true of the label: 1 present, 0 absent, −1 unsure; None where they say nothing of it.

    Args:
        verdict: the reader's.
        called: what the model said, for verdicts that do not say it.

    >>> answer(Verdict("1", "m", "nodule", "disagree", "A", called=1))
    0
    >>> [answer(Verdict("1", "m", "kl_ge_2", "own", "A", grade=grade)) for grade in ("1", "2", "4")]
    [0, 1, 1]
    """
    said = verdict.called if verdict.called is not None else called
    match verdict.verdict:
        case "unsure":
            return -1
        case "own":
            return _answer_of_grade(verdict.label, verdict.grade)
        case "agree":
            return said
        case "disagree":
            return None if said is None else 1 - said
    return None


def _answer_of_grade(label: str, grade: str) -> int | None:
    """Whether a grade is one that a label asks for: a label of grades, as a Task names it, means at least so much."""
    asked = _AT_LEAST.search(label)
    if asked and re.fullmatch(r"[0-9]{1,9}", grade):
        return int(int(grade) >= int(asked[1]))
    return {"0": 0, "1": 1, "-1": -1}.get(grade)
