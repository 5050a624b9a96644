"""Where patients and images went: from the manifest's rows to the patients that each fold held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medres.runs.flow import NOT_JUDGED

_PARTS = ("training", "validation", "held_out")


@dataclass(frozen=True, slots=True)
class FoldFlow:
    """How one fold divides the patients; None where it is not recorded."""

    name: str
    patients: Mapping[str, int | None]  # by part
    images: Mapping[str, int | None]

    def share(self, part: str) -> float:
        """Of the fold's patients, per cent; 0 where a part is not recorded."""
        known = [count for count in self.patients.values() if count is not None]
        count = self.patients[part]
        return round(100 * count / sum(known), 2) if count and len(known) == len(_PARTS) else 0.0


def fold_names(run: Mapping[str, Any]) -> dict[int, str]:
    """What each fold of `run.json` is called, by its number."""
    return {fold.get("fold", place): _name(fold, place) for place, fold in enumerate(run.get("folds") or [])}


def _name(fold: Mapping[str, Any], place: int) -> str:
    """A fold's number, behind the name that the manifest gave it."""
    number = f"fold {fold.get('fold', place)}"
    return f"{fold['name']} ({number})" if fold.get("name") else number


def fold_flows(run: Mapping[str, Any]) -> list[FoldFlow]:
    """The folds of `run.json`."""
    return [
        FoldFlow(
            _name(fold, place),
            {part: fold.get(f"{part}_patients") for part in _PARTS},
            {part: fold.get(f"{part}_images") for part in _PARTS},
        )
        for place, fold in enumerate(run.get("folds") or [])
    ]


def flow_table(run: Mapping[str, Any], *, scored: int, patients: int, folds: Sequence[FoldFlow]) -> pd.DataFrame:
    """`stage, part, images, patients`: the same as a table; blank where it is not recorded."""
    flow, manifest = run.get("flow") or {}, run.get("manifest") or {}
    rows: list[tuple[str, str, Any, Any]] = [("manifest", "", flow.get("rows"), manifest.get("patients"))]
    rows += [
        ("not judged" if code in NOT_JUDGED else "not used", str(code), number, None)
        for code, number in (flow.get("refused") or {}).items()
    ]
    rows += [("used", "", flow.get("used"), None), ("scored", "", scored, patients)]
    rows += [(fold.name, part, fold.images[part], fold.patients[part]) for fold in folds for part in _PARTS]
    table = pd.DataFrame(rows, columns=["stage", "part", "images", "patients"])
    return table.astype({"images": "Int64", "patients": "Int64"})
