"""What is asked of every image: a finding (yes or no), a grade, or one class of several.

Every question is answered by labels, columns of yes and no that a network has one output for each of. A finding is one
label. A grade of K values becomes K − 1 labels, "at least this grade" (cumulative logits; Li and Lin 2006, Ordinal
Regression by Extended Binary Classification), so that each threshold has its own curve, operating point and heatmap. A
class becomes one label per class, of which exactly one is true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from medres.records import TargetValue

if TYPE_CHECKING:
    import pandas as pd

LABEL_PREFIX = "label_"
UNCERTAIN = ("-1", "-1.0")
"""What a manifest says of a finding that the reader could not decide."""

TARGETS: Mapping[str, TargetValue] = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "": None, **dict.fromkeys(UNCERTAIN)}
"""What the cells of a finding mean."""

_UNKNOWN = ("", *UNCERTAIN)  # a grade or class of which one cannot say which


@dataclass(frozen=True, slots=True)
class Task:
    """One question asked of every image.

    `values` are the grades, lowest first, or the classes; empty for a finding, and where a manifest has yet to say.
    """

    name: str
    kind: Literal["binary", "ordinal", "multiclass"] = "binary"
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The task in words, as cards and reports say it."""
        if self.kind == "ordinal":
            return f"Grade {self.name}: {', '.join(self.values)} (labels {', '.join(self.labels)})"
        if self.kind == "multiclass":
            return f"Class {self.name}: {', '.join(self.values)} (labels {', '.join(self.labels)})"
        return f"Finding {self.name}"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that answer it.

        >>> Task("kl_grade", "ordinal", ("0", "1", "2")).labels
        ('kl_grade_ge_1', 'kl_grade_ge_2')
        >>> Task("view", "multiclass", ("AP", "PA")).labels
        ('view_is_AP', 'view_is_PA')
        """
        if self.kind == "ordinal":
            return tuple(f"{self.name}_ge_{value}" for value in self.values[1:])
        if self.kind == "multiclass":
            return tuple(f"{self.name}_is_{value}" for value in self.values)
        return (self.name,)

    def answers(self, probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
        """Places in `values`: the highest grade that is at least as likely as not, or the likeliest class.

        Args:
            probabilities: (n, labels of this task).

        >>> Task("grade", "ordinal", ("0", "1", "2")).answers(np.array([[0.9, 0.6], [0.8, 0.2], [0.1, 0.0]])).tolist()
        [2, 1, 0]
        """
        found: NDArray[np.intp]
        found = probabilities.argmax(axis=1) if self.kind == "multiclass" else (probabilities >= 0.5).sum(axis=1)
        return found


def read_tasks(values: Any) -> tuple[Task, ...]:
    """Tasks from what JSON keeps of them.

    >>> read_tasks([{"name": "mass", "kind": "binary", "values": []}])
    (Task(name='mass', kind='binary', values=()),)
    """
    return TypeAdapter(tuple[Task, ...]).validate_python(values)


def task_columns(tasks: Sequence[Task]) -> list[tuple[Task, slice]]:
    """Each task with the columns of its labels among all labels."""
    found, start = [], 0
    for task in tasks:
        found.append((task, slice(start, start + len(task.labels))))
        start += len(task.labels)
    return found


def resolve(task: Task, table: pd.DataFrame) -> tuple[Task, list[str]]:
    """A task with the values that a manifest has, and what is wrong with its column.

    Adds the columns `label_<label>` to the table for a grade or a class; a finding has its own already.
    """
    if task.kind == "binary":
        return task, []
    column = next((name for name in (task.name, f"{LABEL_PREFIX}{task.name}") if name in table), None)
    if column is None:
        return task, [f"no column {task.name} for the {task.kind} task (it has {', '.join(table.columns[:12])})"]
    cells = table[column].str.strip().mask(lambda text: text.isin(_UNKNOWN), "")
    if task.kind == "ordinal":
        numbers = [whole_number(cell) for cell in cells]
        strange = sorted({cell for cell, number in zip(cells, numbers, strict=True) if cell and number is None})
        if strange:
            return task, [f"{column} holds {strange[0]!r}; grades are whole numbers from 0, or blank (unknown)"]
        cells = cells.map(lambda cell: "" if cell == "" else str(whole_number(cell)))
    seen = sorted({cell for cell in cells if cell}, key=(lambda cell: int(cell)) if task.kind == "ordinal" else None)
    if len(seen) < 2:
        return task, [f"{column} holds {len(seen)} different values; at least two are needed"]
    if task.values and not set(seen) <= set(task.values):
        unknown = sorted(set(seen) - set(task.values))
        return task, [f"{column} holds {unknown[0]!r}; the model knows {', '.join(task.values)}"]
    resolved = task if task.values else replace(task, values=tuple(seen))
    for place, label in enumerate(resolved.labels):
        table[f"{LABEL_PREFIX}{label}"] = [_target(resolved, cell, place) for cell in cells]
    return resolved, []


def whole_number(cell: str) -> int | None:
    """The grade that a cell holds: a whole number from 0; None where it holds none.

    >>> whole_number("2"), whole_number("2.0"), whole_number("two")
    (2, 2, None)
    """
    try:
        number = float(cell)
    except ValueError:
        return None
    return int(number) if number.is_integer() and number >= 0 else None


def _target(task: Task, cell: str, place: int) -> str:
    if not cell:
        return ""
    at = task.values.index(cell)
    return str(int(at > place if task.kind == "ordinal" else at == place))


def true_answers(task: Task, targets: NDArray[np.float64]) -> NDArray[np.intp]:
    """Places in `values` from the targets of a task's labels (n, labels); −1 where unknown.

    >>> task = Task("grade", "ordinal", ("0", "1", "2"))
    >>> true_answers(task, np.array([[0, 0], [1, 1], [np.nan, np.nan]])).tolist()
    [0, 2, -1]
    """
    unknown = np.isnan(targets).any(axis=1)
    known: NDArray[Any] = np.nan_to_num(targets)
    found = known.argmax(axis=1) if task.kind == "multiclass" else known.sum(axis=1).astype(np.intp)
    return np.where(unknown, -1, found)


def answer_columns(tasks: Sequence[Task], probabilities: NDArray[np.float64]) -> dict[str, str]:
    """`predicted_<task>` of one image for every grade and class; probabilities (labels,)."""
    found, start = {}, 0
    for task in tasks:
        part = probabilities[None, start : start + len(task.labels)]
        start += len(task.labels)
        if task.kind != "binary":
            found[f"predicted_{task.name}"] = task.values[int(task.answers(part)[0])]
    return found
