"""What is wrong with a manifest's form, fault by fault, without opening an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from medres.cohort.tasks import LABEL_PREFIX, TARGETS, UNCERTAIN, Task, whole_number

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("path", "PatientID")
USED = ("", "ok", "review")
"""Values of a column `status`, as `index` and `score` write it, whose rows are used."""

_MOST_SHOWN = 5  # values named in one complaint
_WIDEST_GAP = 3  # between neighbouring grades: KL grades may lack one or two, while 9 and 99 are codes for missing
_MOST_CLASSES = 20
_ANSWERS = frozenset(
    ("yes", "no", "y", "n", "true", "false", "t", "f", "positive", "negative", "pos", "neg", "present", "absent",
     "unknown", "uncertain", "na", "n/a", "nan", "none", "null", "?", "x", "+", "-")
)  # fmt: skip
"""What people write instead of 1, 0, -1 and blank: no classes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a manifest's form."""

    kind: Literal["column", "rows", "path", "SOPInstanceUID", "PatientID"]
    said: str
    repeated: tuple[tuple[str, tuple[int, ...]], ...] = ()  # of repeats: the value, and its rows


def form_faults(table: pd.DataFrame) -> list[Fault]:
    """Everything that is wrong with a manifest but its labels; a column that is missing hides no other fault."""
    absent = [name for name in REQUIRED if name not in table]
    found = []
    if absent:
        has = f"(it has {', '.join(map(str, table.columns[:8]))})"
        found.append(Fault("column", f"no column {' or '.join(absent)} {has}"))
    if table.empty:
        return [*found, Fault("rows", "it has no rows")]
    for kind in ("path", "SOPInstanceUID"):
        repeated = _repeats(table, kind)
        if repeated:
            found.append(repeated_fault(kind, repeated))
    if "PatientID" in table:
        blank = table["PatientID"].str.strip() == ""
        where = table["path"][blank] if "path" in table else blank.index[blank] + 2  # the line in the file
        if blank.any():
            said = f"{blank.sum()} rows have no PatientID, so patients cannot be kept apart: {some(where)}"
            found.append(Fault("PatientID", said))
    return found


def repeated_fault(kind: Literal["path", "SOPInstanceUID"], repeated: Sequence[tuple[str, tuple[int, ...]]]) -> Fault:
    """Paths or SOPInstanceUIDs that occur in several rows."""
    said = f"{len(repeated)} {kind}s occur twice: {some(value for value, _ in repeated)}"
    return Fault(kind, said, tuple(repeated))


def without(fault: Fault, told: Callable[[tuple[int, ...]], bool]) -> Fault | None:
    """A fault without the repeats whose rows were told elsewhere; None where nothing is left of it."""
    left = [one for one in fault.repeated if not told(one[1])]
    if len(left) == len(fault.repeated):
        return fault
    return repeated_fault("path" if fault.kind == "path" else "SOPInstanceUID", left) if left else None


def _repeats(table: pd.DataFrame, column: str) -> list[tuple[str, tuple[int, ...]]]:
    if column not in table:
        return []
    cells = table[column].str.strip()
    places: dict[str, list[int]] = {}
    for number, cell in enumerate(cells):
        if cell or column == "path":
            places.setdefault(cell, []).append(number)
    return [(cell, tuple(rows)) for cell, rows in places.items() if len(rows) > 1]


def finding_complaint(table: pd.DataFrame, label: str) -> str:
    """What is wrong with the column of a finding; "" where nothing is."""
    column = f"{LABEL_PREFIX}{label}"
    if column not in table:
        known = [name.removeprefix(LABEL_PREFIX) for name in table.columns if name.startswith(LABEL_PREFIX)]
        return f"no label {label!r} (no column {column}); it has {', '.join(known) or 'no label_ columns at all'}"
    values = Counter(table[column].str.strip())
    strange = [value for value in values if value not in TARGETS]
    if strange:
        return f"{column} holds {some(strange)}; allowed are 1, 0, -1 (uncertain) and blank (unknown)"
    present, absent = values["1"] + values["1.0"], values["0"] + values["0.0"]
    if not present or not absent:
        return f"{column} has {present} positive and {absent} negative rows; both classes are needed"
    return ""


@dataclass(frozen=True, slots=True)
class Question:
    """What a label column asks: a task that can be learnt from it, or what is wrong with it."""

    column: str
    task: Task | None
    complaint: str  # "" where there is a task
    counts: tuple[tuple[str, int], ...] = ()  # rows of each grade or class

    def __str__(self) -> str:
        """What is wrong, or how to train a grade or class; "" of a finding that is as it should be."""
        if self.task is None or self.task.kind == "binary":
            return self.complaint
        rows = ", ".join(f"{value} ({count})" for value, count in self.counts)
        kind = "grade" if self.task.kind == "ordinal" else "class"
        return f"{self.column} is a {kind}: {rows}; it is asked for with --{self.task.kind} {self.task.name}"


def label_questions(table: pd.DataFrame) -> list[Question]:
    """What each column `label_…` asks: a finding (1, 0), a grade (whole numbers) or one class of several (texts).

    A single row with a value beyond 1, or a gap as before a code like 9 or 99, is a slip and no grade.
    """
    return [_question(table, str(name)) for name in table.columns if str(name).startswith(LABEL_PREFIX)]


def _question(table: pd.DataFrame, column: str) -> Question:
    name = column.removeprefix(LABEL_PREFIX)
    complaint = finding_complaint(table, name)
    if not complaint:
        return Question(column, Task(name), "")
    counts = Counter(cell for cell in table[column].str.strip() if cell not in ("", *UNCERTAIN))
    if set(counts) <= set(TARGETS):
        return Question(column, None, complaint)
    numbers = [whole_number(cell) for cell in counts]
    if not any(number is None for number in numbers):
        grades: Counter[int] = Counter()
        for cell, count in counts.items():
            grades[whole_number(cell) or 0] += count
        slip = _slip(grades)
        if len(grades) > 1 and not slip:
            found = tuple((str(grade), grades[grade]) for grade in sorted(grades))
            return Question(column, Task(name, "ordinal", tuple(value for value, _ in found)), "", found)
        return Question(column, None, complaint + (f"; {slip}" if slip else ""))
    if _are_classes(counts):
        found = tuple(sorted(counts.items()))
        return Question(column, Task(name, "multiclass", tuple(value for value, _ in found)), "", found)
    return Question(column, None, complaint)


def _slip(grades: Counter[int]) -> str:
    """Why whole numbers are rather a mistake than grades; "" where they are not."""
    seen = sorted(grades)
    beyond = [grade for grade in seen if grade > 1]
    if len(beyond) == 1 and grades[beyond[0]] == 1 and min(grades[0], grades[1]) > 1:
        return f"one row alone holds {beyond[0]}, which makes no grade"
    for lower, upper in pairwise(seen):
        if upper - lower > _WIDEST_GAP:
            return f"between {lower} and {upper} no grade occurs: is {upper} a code for unknown? Leave such cells blank"
    return ""


def _are_classes(counts: Counter[str]) -> bool:
    texts = {cell.casefold() for cell in counts}
    return (
        2 <= len(counts) <= _MOST_CLASSES
        and min(counts.values()) > 1
        and not texts & _ANSWERS
        and not any(_is_number(cell) for cell in texts)
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def some(values: Iterable[object]) -> str:
    """The first of some values, in quotes, and how many more there are."""
    found = [repr(str(value)) for value in values]
    more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
    return ", ".join(found[:_MOST_SHOWN]) + more
