"""One phantom radiograph: a thorax with known findings, exposed; no file and no patient is involved.

The way of a film: exact path lengths (`anatomy`), Beer's law, scatter, quantum and electronic noise, collimation,
a logarithmic detector. Findings are nodules, of which place and size are known to a part of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medres.imaging.anatomy import Anatomy, Nodule, Sex, draw_nodules, line_integral
from medres.imaging.projection import FIELD_WIDTH, Array, View, pixel_centres


@dataclass(frozen=True, slots=True)
class Detector:
    """How one installation turns a beam into stored values."""

    offset: float = 180.0  # stored value of the open beam
    gain: float = 560.0  # stored values per unit of attenuation
    quanta: float = 60_000.0  # per mm² in the open beam
    scatter: float = 0.45  # scattered ÷ primary, averaged over the field
    electronic_noise: float = 12.0  # standard deviation, quanta per pixel
    unsharpness: float = 0.55  # standard deviation of the point spread, mm
    window: tuple[float, float] = (3.0, 97.0)  # percentiles of the body that the window spans


@dataclass(frozen=True, slots=True)
class Lesion:
    """Where a nodule lies in the image; pixel centres have whole numbers."""

    row: float
    column: float
    radius: float  # native pixels


@dataclass(frozen=True, slots=True)
class Phantom:
    """One exposed phantom."""

    stored: NDArray[np.uint16]  # (rows, columns), 12 bit, higher = more attenuation = brighter
    lesions: tuple[Lesion, ...]
    window_center: int
    window_width: int
    pixel_spacing: float  # mm


def phantom(
    rng: np.random.Generator,
    *,
    rows: int = 448,
    columns: int = 384,
    view: View = "PA",
    sex: Sex = "M",
    lesions: int = 0,
    detector: Detector | None = None,
) -> Phantom:
    """A random person, exposed.

    The random values used do not depend on `lesions`: two calls with equal generators that differ in `lesions`
    alone show the same person, noise included.

    Args:
        rng: the source of everything random.
        rows: height, pixels.
        columns: width, pixels.
        view: the projection.
        sex: of the build.
        lesions: 0, 1 or 2 nodules.
        detector: the installation.

    >>> phantom(np.random.default_rng(1), rows=56, columns=48, lesions=2).stored.shape
    (56, 48)
    """
    anatomy = Anatomy.draw(rng, sex=sex)
    nodules = draw_nodules(rng, anatomy)
    if not 0 <= lesions <= len(nodules):
        raise ValueError(f"lesions must be 0 to {len(nodules)}, not {lesions}")
    return expose(rng, anatomy, nodules=nodules[:lesions], rows=rows, columns=columns, view=view, detector=detector)


def expose(
    rng: np.random.Generator,
    anatomy: Anatomy,
    *,
    nodules: Sequence[Nodule] = (),
    rows: int = 448,
    columns: int = 384,
    view: View = "PA",
    detector: Detector | None = None,
) -> Phantom:
    """One film of one person: another call with the same person is another film.

    Positioning, breath, exposure, collimation, lung texture and noise come from `rng`.
    """
    detector = detector or Detector()
    pixel = FIELD_WIDTH / columns
    shift_across, shift_down = rng.normal(0.0, (7.0, 8.0))
    breath = float(np.clip(rng.normal(0.0, 5.0), -10.0, 10.0))
    exposure = float(np.exp(rng.normal(0.0, 0.18)))
    brightness = float(rng.normal(0.0, 60.0))
    across = pixel_centres(columns, pixel, float(shift_across))
    down = pixel_centres(rows, pixel, float(shift_down))
    texture = 1 + 0.05 * _smooth_field(rng, rows, columns)
    attenuation = line_integral(
        replace(anatomy, inspiration=anatomy.inspiration + breath),
        across.astype(np.float32),
        down.astype(np.float32),
        view=view,
        nodules=nodules,
        parenchyma=texture,
    )
    beam = ndimage.gaussian_filter(np.exp(-attenuation), detector.unsharpness / pixel, truncate=3)
    beam += _scatter(beam, detector.scatter, pixel)
    borders = rng.uniform(0.005, 0.04, 4) * (rng.uniform(0.0, 1.0, 4) < 0.2)
    quanta = detector.quanta * exposure * pixel * pixel
    noise = rng.standard_normal((rows, columns), np.float32)
    # Thousands of quanta reach every pixel: their Poisson distribution is normal to well below one stored value.
    beam += noise * np.sqrt(beam / quanta + (detector.electronic_noise / quanta) ** 2)
    stored = detector.offset + brightness - detector.gain * np.log(np.maximum(beam, 1e-4))
    low, high = np.percentile(stored[::4, ::4][attenuation[::4, ::4] > 1.0], detector.window)
    _collimate(stored, borders)
    lesions = tuple(_project(nodule, across, down, pixel, view) for nodule in nodules)
    return Phantom(
        stored=np.clip(np.rint(stored), 0, 4095).astype(np.uint16),
        lesions=lesions,
        window_center=round(float(low + high) / 2),
        window_width=max(round(float(high - low)), 2),
        pixel_spacing=pixel,
    )


def _smooth_field(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Clouds of about a fifteenth of the width, mean 0, standard deviation about 1.

    The pattern does not depend on the matrix size.
    """
    height, width = 48, 32
    coarse = ndimage.gaussian_filter(rng.standard_normal((height, width)).astype(np.float32), 1.0, mode="wrap")
    return _enlarge(coarse / 0.28, rows, columns)


def _scatter(beam: Array, ratio: float, pixel: float) -> Array:
    """Scattered radiation: the primary beam, blurred over 35 mm."""
    step = max(round(8 / pixel), 1)
    coarse = ndimage.gaussian_filter(beam[::step, ::step], 35 / (step * pixel), mode="nearest", truncate=2.5)
    return ratio * _enlarge(coarse, *beam.shape)


def _enlarge(coarse: Array, rows: int, columns: int) -> Array:
    """Bilinear enlargement to (rows, columns), one axis after the other."""
    for axis, count in enumerate((rows, columns)):
        size = coarse.shape[axis]
        place = np.linspace(0, size - 1, count)
        left = np.minimum(place.astype(np.intp), max(size - 2, 0))
        weight = (place - left).astype(np.float32)
        weight = weight[:, None] if axis == 0 else weight
        coarse = (
            np.take(coarse, left, axis) * (1 - weight) + np.take(coarse, np.minimum(left + 1, size - 1), axis) * weight
        )
    return coarse


def _collimate(stored: Array, borders: NDArray[np.float64]) -> None:
    """Nothing is exposed outside the collimator's leaves: the stored value is the highest there."""
    rows, columns = stored.shape
    top, bottom = (round(float(part) * rows) for part in borders[:2])
    left, right = (round(float(part) * columns) for part in borders[2:])
    stored[:top] = stored[rows - bottom :] = 4095
    stored[:, :left] = stored[:, columns - right :] = 4095


def _project(
    nodule: Nodule, across: NDArray[np.float64], down: NDArray[np.float64], pixel: float, view: View
) -> Lesion:
    place = nodule.centre[1 if view == "LL" else 0]
    return Lesion(
        row=float((nodule.centre[2] - down[0]) / pixel),
        column=float((place - across[0]) / pixel),
        radius=nodule.radius / pixel,
    )
