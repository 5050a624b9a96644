"""The tables that lie in a folder of scores: what a reader sees, and what a run may not make vanish unasked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from medres.errors import GoneError, UsageError
from medres.scoring.columns import numbers_in, one_piece, places_in, row_numbers, text_array
from medres.scoring.known import GONE, SCORED, percent

TABLE = "predictions"


@dataclass(frozen=True, slots=True)
class Shown:
    """The rows of the tables that a reader sees now, whatever model made them; none where there is no table."""

    folder: Path  # of scores

    @property
    def there(self) -> bool:
        """Whether there is a table."""
        return self._path.is_file()

    @property
    def _path(self) -> Path:
        return self.folder / f"{TABLE}.parquet"

    def column(self, name: str) -> Any:
        """A column of text, as an Arrow array."""
        try:
            with parquet.ParquetFile(self._path) as file:
                return one_piece(file.read(columns=[name], use_threads=False)[name].cast(pa.large_string()))
        except (OSError, pa.ArrowException):  # it is made again; the parts still hold its rows
            return text_array([])

    def models(self) -> frozenset[str]:
        """Whose rows they are."""
        try:
            with parquet.ParquetFile(self._path) as file:
                pieces = file.iter_batches(columns=["model_id"], use_threads=False)
                return frozenset(text for piece in pieces for text in piece.column(0).unique().to_pylist()) - {""}
        except (OSError, pa.ArrowException):  # see `column`
            return frozenset()

    def refuse_lost(self, present: Any, *, hashes: Callable[[], Any], most: float) -> None:
        """Stop where new tables would lack too many of the scores that are there.

        Args:
            present: the paths of the new tables, or of the files that are there; as rows name them.
            hashes: SHA-256 of files that are there, asked for only where it matters: bytes that moved are not lost.
            most: the share that may be lost.

        Raises:
            GoneError: it would be more than that, and more than one, or nothing is there.
        """
        paths, status = self.column("path"), self.column("status")
        scored = numbers_in(pc.is_in(status, value_set=text_array([*SCORED, GONE])))
        away = np.flatnonzero(scored & (places_in(paths, present) < 0))
        known = int(scored.sum())

        def too_many() -> bool:
            return len(away) > most * known and (len(away) > 1 or not len(present))

        if too_many():
            of = self.column("sha256").take(row_numbers(away))
            away = away[places_in(of, hashes()) < 0]
        if too_many():
            raise GoneError(
                f"{len(away)} of {known} rows with scores in {self.folder} are of files that are not there now, or "
                "cannot be read: is a mount missing? The tables stay as they are. If their scores are meant to leave "
                f"the tables, give --max-gone {percent(len(away), known)} or more"
            )

    def refuse_list(self, known: Any, listed: Any, *, model_id: str, recorded: str | None) -> None:
        """Make sure that the rows of all files that a list does not name can stay as they are.

        Args:
            known: the paths of this model's rows in the ledger.
            listed: the paths that the list names.
            model_id: what scores.
            recorded: the model of the results that are resumed.

        Raises:
            UsageError: they are of another model, or a part with some of them is damaged.
        """
        others = (self.models() or {recorded or model_id}) - {model_id}
        if others:
            raise UsageError(
                f"the results in {self.folder} are of model {', '.join(sorted(others))}, and this is {model_id}: with "
                "a list, one table would hold rows of both. Give the model that scored them, --resume without a list, "
                "or another --out"
            )
        paths = self.column("path")
        lacking = int(((places_in(paths, known) < 0) & (places_in(paths, listed) < 0)).sum())
        if lacking:
            raise UsageError(
                f"the parts in {self.folder} lack {lacking} rows of its table, for one is damaged or missing; with a "
                "list these would vanish. Give --resume without a list, which scores their files again"
            )
