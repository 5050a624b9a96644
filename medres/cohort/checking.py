"""Every problem of a manifest in one go: its form, its files, and patients or images under two names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medres.cohort.cache import PixelCache, cached_pixels
from medres.cohort.indexing import Progress
from medres.cohort.leakage import Leak, find_leaks
from medres.cohort.manifest import Manifest, read_manifest
from medres.cohort.similarity import SIDE
from medres.cohort.tasks import LABEL_PREFIX
from medres.config import Gate, Limits, Preprocessing
from medres.errors import ManifestError
from medres.tables import inert_path, read_csv

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Checked:
    """What is wrong with a manifest, and what is only worth knowing."""

    problems: tuple[str, ...]  # of its form and its files, one line each
    leaks: tuple[Leak, ...] = ()
    manifest: Manifest | None = None  # None: it could not be read as one
    cache: PixelCache | None = None  # of its usable files

    def described(self, leak: Leak) -> str:
        """A leak as one line. It names PatientIDs where it is about them: the manifest's owner has to look them up."""
        if leak.kind != "similar PatientID" or self.manifest is None:
            return f"{leak.kind}: {leak.detail}"
        patients = ", ".join(repr(self.manifest.rows[row].patient_id) for row in leak.rows)
        return f"{leak.kind}: {patients}: {leak.detail}"

    def lines(self, others: Sequence[tuple[bool, str]] = ()) -> tuple[list[str], list[str]]:
        """Every problem, and every note, one line each.

        Args:
            others: what was found elsewhere: whether it is a problem, and its line.
        """
        found = [*((leak.problem, self.described(leak)) for leak in self.leaks), *others]
        problems = [*self.problems, *(line for problem, line in found if problem)]
        return problems, [line for problem, line in found if not problem]

    def header_columns(self) -> tuple[str, ...]:
        """Names of the DICOM attributes that are known of the images."""
        images = self.cache.images if self.cache else ()
        return tuple(dict.fromkeys(name for image in images for name in image.attributes))

    def table(self) -> pd.DataFrame:
        """The manifest's usable rows, with columns from the headers where it has none of that name."""
        import pandas as pd

        if self.manifest is None or self.cache is None:
            return pd.DataFrame()
        images = self.cache.images
        found = self.manifest.table.iloc[[image.row for image in images]].reset_index(drop=True)
        attributes = pd.DataFrame([image.attributes for image in images], dtype=str).fillna("")
        return found.join(attributes[[name for name in attributes if name not in found]])


def check_manifest(
    path: Path,
    *,
    root: Path | None = None,
    gate: Gate,
    limits: Limits,
    progress: Progress | None = None,
) -> Checked:
    """Look for every problem; no problem means that the manifest can be trained on.

    Args:
        path: the manifest.
        root: what its paths are relative to; its own folder by default.
        gate: which radiographs are admitted.
        limits: budgets of one file.
        progress: told (done, total) while files are decoded, and again while images are compared.

    Raises:
        ManifestError: the file is not a table at all.
    """
    labels = [name.removeprefix(LABEL_PREFIX) for name in read_csv(path).columns if name.startswith(LABEL_PREFIX)]
    try:
        manifest = read_manifest(path, labels, root=root)
    except ManifestError as error:
        return Checked(tuple(str(error).removeprefix(f"{path}: ").split("; ")))
    found = [] if labels else ["no label_ column: nothing to learn"]
    cache = cached_pixels(manifest.rows, Preprocessing(size=SIDE), gate=gate, limits=limits, progress=progress)
    found += [f"{inert_path(refusal.path)}: {refusal.code}: {refusal.detail}" for _, refusal in cache.refusals]
    for image in cache.images:
        row = manifest.rows[image.row]
        if row.sop_instance_uid and row.sop_instance_uid != image.sop_instance_uid:
            found.append(f"{inert_path(str(row.path))}: its SOPInstanceUID is not the one in the manifest")
    leaks = find_leaks(manifest.rows, cache.images, cache.pixels, progress=progress)
    return Checked(tuple(found), leaks, manifest, cache)
