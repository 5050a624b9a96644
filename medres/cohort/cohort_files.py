"""The files of a cohort while its cache is made: hashed once, decoded in processes, refused if they change."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from medres.config import Limits
from medres.errors import MAY_PASS, Refused
from medres.imaging.isolation import Workers
from medres.imaging.preprocessing import Prepared, file_sha256
from medres.processors import usable_processors
from medres.records import ManifestRow, Refusal


class CohortFiles:
    """The files of a cohort: their hashes when the run began, and those that are refused for now."""

    def __init__(
        self,
        rows: Sequence[ManifestRow],
        job: Callable[[str], Prepared],
        limits: Limits,
        refused_for_now: dict[int, Refusal],
    ) -> None:
        self.rows, self.job, self.limits = rows, job, limits
        self.refused_for_now = refused_for_now
        with ThreadPoolExecutor(min(32, usable_processors() + 4)) as threads:
            hashed = list(threads.map(_digest, rows))
        for number, found in enumerate(hashed):
            if isinstance(found, Refusal):
                self.refused_for_now.setdefault(number, found)
        self._hashed = hashed

    def digest(self, number: int) -> str | None:
        """The hash of a row's file; None: it is refused for now."""
        found = self._hashed[number]
        return None if number in self.refused_for_now or isinstance(found, Refusal) else found

    def decoded(self, numbers: Sequence[int]) -> Generator[tuple[int, Prepared | Refusal]]:
        """Decode some rows, in their order: each gives the network's input, or the reason why it was refused."""
        if not numbers:
            return
        with Workers(limits=self.limits) as pool:
            paths = (os.fspath(self.rows[number].path) for number in numbers)
            results = pool.map(self.job, paths, ordered=True)
            for number, (_, result) in zip(numbers, results, strict=True):
                yield number, self._of_the_same_bytes(number, result)

    def still_refused(self, numbers: Sequence[int]) -> dict[int, Refusal]:
        """Try some rows again, and return the refusals up to the first row that is no longer refused."""
        found = {}
        with closing(self.decoded(numbers)) as results:
            for number, result in results:
                if isinstance(result, Prepared) or result.code not in MAY_PASS:
                    break
                found[number] = result
        return found

    def _of_the_same_bytes(self, number: int, result: Prepared | Refusal) -> Prepared | Refusal:
        if isinstance(result, Refusal) and result.code in MAY_PASS:
            return result
        row = self.rows[number]
        if (result.sha256 if isinstance(result, Prepared) else _digest(row)) == self._hashed[number]:
            return result
        return Refusal(os.fspath(row.path), "CHANGED", "another file took its place while the cohort was read")


def _digest(row: ManifestRow) -> str | Refusal:
    path = os.fspath(row.path)
    try:
        return file_sha256(path)
    except Refused as refused:
        return Refusal(path, refused.code, refused.detail)
