"""A Radiograph becomes the network's input here: one copy of that code for training, scoring and the app."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medres.config import PAIRED_LIMBS, Gate, Limits, Preprocessing
from medres.config.versions import hashed_content
from medres.imaging.pictures import as_bytes
from medres.imaging.resizing import interpolation, resize
from medres.records import FULL, Decoding, Radiograph

if TYPE_CHECKING:
    from medres.imaging.reading import Path

ALGORITHM = 1
"""Raised whenever the same file and specification would give other pixels than before."""

WHITE = 65535

_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a radiograph lies in the network's square input.

    Points are (row, column) with the centre of the first pixel at (0, 0), so that an image of n rows goes from -0.5 to
    n - 0.5. Scales are input pixels per native pixel; offsets are the input rows above, and columns left of, the
    radiograph before the square is mirrored.
    """

    rows: int  # native
    columns: int  # native
    size: int
    scale_row: float
    scale_column: float
    offset_row: int
    offset_column: int
    mirrored: bool = False

    def to_input(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Native points, (n, 2), in input pixels."""
        moved = (np.asarray(points, dtype=np.float64) + 0.5) * self._scale + self._offset - 0.5
        return self._mirror(moved)

    def to_native(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Input points, (n, 2), in native pixels; points in the padding lie outside of the image."""
        moved = self._mirror(np.array(points, dtype=np.float64))
        native: NDArray[np.float64] = (moved + 0.5 - self._offset) / self._scale - 0.5
        return native

    def restore(
        self, heatmap: NDArray[np.floating], *, first_center: float | None = None, step: float | None = None
    ) -> NDArray[np.float32]:
        """A square map of the whole input, of any side, in native pixels: bilinear, its values never stretched.

        Args:
            heatmap: (k, k); beyond its outermost cell centres the outermost values go on.
            first_center: the input pixel on which the first cell is centred, in rows and columns. Without it the first
                lies half a step inside.
            step: input pixels from one cell's centre to the next one's. Without it the cells tile the input: size ÷ k.

        Returns:
            float32, (rows, columns).
        """
        side = len(heatmap)
        if heatmap.shape != (side, side):
            raise ValueError(f"a heatmap is square, not {heatmap.shape}")
        step = self.size / side if step is None else step
        first = (step - 1) / 2 if first_center is None else first_center
        down = interpolation((self._lines(self.rows, 0) - first) / step, side)
        across = interpolation((self._lines(self.columns, 1) - first) / step, side)
        restored: NDArray[np.float32] = down @ heatmap.astype(np.float32) @ across.T
        return restored

    @property
    def _scale(self) -> NDArray[np.float64]:
        return np.array([self.scale_row, self.scale_column])

    @property
    def _offset(self) -> NDArray[np.float64]:
        return np.array([self.offset_row, self.offset_column], dtype=np.float64)

    def _mirror(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.mirrored:
            points[..., 1] = self.size - 1 - points[..., 1]
        return points

    def _lines(self, count: int, axis: int) -> NDArray[np.float64]:
        """Where the native rows (axis 0) or columns (axis 1) lie, input pixels."""
        points = np.zeros((count, 2))
        points[:, axis] = np.arange(count)
        return self.to_input(points)[:, axis]


@dataclass(frozen=True, slots=True)
class Preprocessed:
    """The network's input, and how to get back from it."""

    pixels: NDArray[np.uint16]  # (size, size), 0 black to 65535 white
    placement: Placement


@dataclass(frozen=True, slots=True)
class Inspected:
    """What is known of a usable file without its pixels."""

    path: str
    sha256: str  # of the file's bytes
    pixels_sha256: str  # of the stored values and the shape, whatever their encoding; "" where only some were decoded
    sop_instance_uid: str
    study_instance_uid: str
    patient_id: str
    view_position: str
    laterality: str
    warnings: tuple[str, ...]
    review: tuple[str, ...]
    attributes: Mapping[str, str]
    provenance: Mapping[str, str]
    study_date: str = field(default="", kw_only=True)  # YYYYMMDD


@dataclass(frozen=True, slots=True)
class Prepared(Inspected):
    """One file as the network's input, with what is known of it: small enough to travel between processes."""

    pixels: NDArray[np.uint16]  # (size, size), 0 black to 65535 white
    placement: Placement
    decode: str = FULL  # one of records.DECODED
    picture: NDArray[np.uint8] | None = None  # (rows, columns), native, as displayed: for a heatmap to be drawn over
    pixel_aspect_ratio: float = 1.0  # height ÷ width of one native pixel


SMALLER = "smaller"
"""Of a file's provenance: which kind of smaller copy was decoded (`records.copy_name`); "" where all pixels were."""


def preprocess(radiograph: Radiograph, spec: Preprocessing) -> Preprocessed:
    """Fit a radiograph into the network's square: pixels made square, aspect kept, padded with black.

    `spec.voi` and `spec.percentiles` act when the radiograph is rendered, not here.
    """
    sampling = radiograph.sampling
    rows, columns = (sampling.rows, sampling.columns) if sampling else radiograph.pixels.shape
    placement = place(
        rows,
        columns,
        size=spec.size,
        pixel_aspect_ratio=radiograph.pixel_aspect_ratio,
        mirrored=spec.laterality == "mirror-left-limbs" and _is_left_limb(radiograph),
    )
    height, width = round(rows * placement.scale_row), round(columns * placement.scale_column)
    square = np.zeros((spec.size, spec.size), np.uint16)
    top, left = placement.offset_row, placement.offset_column
    resized = resize(radiograph.pixels, height, width, sampling)
    square[top : top + height, left : left + width] = np.rint(np.clip(resized, 0.0, 1.0) * WHITE)
    return Preprocessed(np.ascontiguousarray(square[:, ::-1]) if placement.mirrored else square, placement)


def place(rows: int, columns: int, *, size: int, pixel_aspect_ratio: float = 1.0, mirrored: bool = False) -> Placement:
    """Where an image of that many rows and columns lies in a square.

    >>> placement = place(200, 100, size=64)
    >>> placement.scale_row, placement.scale_column, placement.offset_row, placement.offset_column
    (0.32, 0.32, 0, 16)
    """
    tall = rows * pixel_aspect_ratio
    scale = size / max(tall, columns)
    height = min(size, max(1, round(tall * scale)))
    width = min(size, max(1, round(columns * scale)))
    return Placement(
        rows=rows,
        columns=columns,
        size=size,
        scale_row=height / rows,
        scale_column=width / columns,
        offset_row=(size - height) // 2,
        offset_column=(size - width) // 2,
        mirrored=mirrored,
    )


def as_float(pixels: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Preprocessed pixels in [0, 1]: the one place where they become floating-point numbers.

    >>> as_float(np.array([0, 65535], dtype=np.uint16))
    array([0., 1.], dtype=float32)
    """
    return np.divide(pixels, WHITE, dtype=np.float32)


def specification_hash(spec: Preprocessing) -> str:
    """The SHA-256 of everything that decides the pixels of one file: the specification and the algorithm's version.

    It leaves out fields added after format 3 while they hold what held before: see `config.versions`.
    """
    facts = {"algorithm": ALGORITHM, "preprocessing": hashed_content(spec)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, whatever they are.

    Raises:
        Refused: UNREADABLE.
    """
    from medres.imaging.reading import open_regular  # with pydicom, which a process that only scores does not need

    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def prepare(
    path: str,
    *,
    spec: Preprocessing,
    gate: Gate,
    limits: Limits,
    decode: Decoding | None = None,
    smaller: Set[str] | None = None,
    pictured: Callable[[Mapping[str, str]], bool] | None = None,
) -> Prepared:
    """One file becomes one network input: the job of worker processes.

    Args:
        path: the file.
        spec: how it becomes the input.
        gate: which radiographs are admitted.
        limits: budgets.
        decode: all of its pixels, or a smaller copy where it holds one; as the specification says without.
        smaller: of which copies that may be one, see `codecs.decode`; any without.
        pictured: of which radiographs, judged by their attributes, the displayed picture is wanted as well: of all
            pixels, whatever the network sees.

    Raises:
        Refused: with a code of errors.REASONS.
    """
    found, radiograph = _read(path, spec, gate, limits, spec.shorter_side(decode), smaller)
    done = preprocess(radiograph, spec)
    known = {field.name: getattr(found, field.name) for field in fields(found)}
    decoded = f"1/{radiograph.sampling.step}" if radiograph.sampling else FULL
    picture = _picture(found, radiograph, spec, gate, limits) if pictured and pictured(found.attributes) else None
    return Prepared(
        **known, pixels=done.pixels, placement=done.placement, decode=decoded, picture=picture,
        pixel_aspect_ratio=radiograph.pixel_aspect_ratio,
    )  # fmt: skip


def _picture(found: Inspected, seen: Radiograph, spec: Preprocessing, gate: Gate, limits: Limits) -> NDArray[np.uint8]:
    """What a person is shown of a radiograph, all of its pixels."""
    if seen.sampling:
        from medres.imaging.reading import read_radiograph

        seen = read_radiograph(
            found.path, gate=gate, voi=spec.voi, percentiles=spec.percentiles, limits=limits, sha256=found.sha256
        )
    return as_bytes(seen.pixels)


def inspect(path: str, *, gate: Gate, limits: Limits) -> Inspected:
    """Read one file far enough to know that it is usable; its pixels stay behind.

    Raises:
        Refused: with a code of errors.REASONS.
    """
    return _read(path, Preprocessing(), gate, limits, None)[0]


def _read(
    path: str, spec: Preprocessing, gate: Gate, limits: Limits, pixels: int | None, smaller: Set[str] | None = None
) -> tuple[Inspected, Radiograph]:
    from medres.imaging.reading import decode_radiograph, read_dataset

    reading = read_dataset(path, gate=gate, limits=limits)
    radiograph, decoded = decode_radiograph(
        reading, voi=spec.voi, percentiles=spec.percentiles, limits=limits, shorter_side=pixels, smaller=smaller
    )
    found = Inspected(
        path=path,
        sha256=reading.sha256,
        pixels_sha256="" if decoded.sampling else pixels_sha256(decoded.pixels),
        sop_instance_uid=radiograph.sop_instance_uid,
        study_instance_uid=radiograph.study_instance_uid,
        patient_id=radiograph.patient_id,
        view_position=radiograph.view_position,
        laterality=radiograph.laterality,
        study_date=radiograph.study_date,
        warnings=radiograph.warnings,
        review=radiograph.review,
        attributes=radiograph.attributes,
        provenance={**radiograph.provenance, SMALLER: decoded.smaller},
    )
    return found, radiograph


def pixels_sha256(stored: NDArray[np.integer]) -> str:
    """The SHA-256 of stored values and their shape: the same for the same image in any lossless encoding.

    >>> pixels_sha256(np.array([[1, 2]], dtype=np.uint8)) == pixels_sha256(np.array([[1, 2]], dtype=np.int16))
    True
    """
    fits = int(stored.min()) >= 0 and int(stored.max()) <= WHITE
    canonical = np.ascontiguousarray(stored, dtype="<u2" if fits else "<i8")
    digest = hashlib.sha256(repr(stored.shape).encode())
    digest.update(canonical.data)
    return digest.hexdigest()


def _is_left_limb(radiograph: Radiograph) -> bool:
    return radiograph.laterality == "L" and is_paired_limb(radiograph.attributes.get("BodyPartExamined", ""))


def is_paired_limb(body_part: str) -> bool:
    """Whether a BodyPartExamined is a limb of which there are a left and a right one."""
    return body_part.upper() in PAIRED_LIMBS
