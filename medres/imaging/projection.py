"""Parallel projection of simple bodies: how far each ray runs through an ellipsoid, in closed form.

Coordinates are millimetres in the patient: x towards the patient's left, y towards the back, z towards the feet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

View = Literal["PA", "AP", "LL"]
"""ViewPosition of a phantom: frontal from behind, frontal from the front (lying), left lateral."""

Array = NDArray[np.floating[Any]]
Vector = tuple[float, float, float]

FIELD_WIDTH = 345.6
"""Width of every phantom's field, mm; the height follows from rows ÷ columns."""


def pixel_centres(count: int, pixel: float, shift: float) -> NDArray[np.float64]:
    """Where the centres of the pixels lie along one axis, mm in the patient."""
    return (np.arange(count, dtype=np.float64) - (count - 1) / 2) * pixel + shift


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """All points p with (p − centre)ᵀ precision (p − centre) ≤ 1; `extent` is the half size of its bounding box."""

    centre: Vector
    precision: tuple[Vector, Vector, Vector]
    extent: Vector


class Rays:
    """The rays of one projection: what each body adds to them, computed only where the body is."""

    def __init__(self, across: Array, down: Array, view: View) -> None:
        self.across, self.down, self.view = across, down, view
        self.axis, self.depth = (1, 0) if view == "LL" else (0, 1)  # of Vector: along columns, along the rays

    def box(self, body: Ellipsoid) -> tuple[slice, slice]:
        """The rows and columns that can see the body."""
        edges = []
        for values, axis in ((self.down, 2), (self.across, self.axis)):
            low, high = body.centre[axis] - body.extent[axis], body.centre[axis] + body.extent[axis]
            edges.append(slice(int(np.searchsorted(values, low)), int(np.searchsorted(values, high, side="right"))))
        return edges[0], edges[1]

    def interval(self, body: Ellipsoid, box: tuple[slice, slice] | None = None) -> tuple[slice, slice, Array, Array]:
        """Where each ray of the box enters and leaves the body, mm along the ray; equal where it misses."""
        rows, columns = box or self.box(body)
        matrix, axis, depth = body.precision, self.axis, self.depth
        along, cross, slant = matrix[depth][depth], matrix[axis][depth], matrix[2][depth]
        u = self.across[columns] - body.centre[axis]
        v = (self.down[rows] - body.centre[2])[:, None]
        uu = (along * matrix[axis][axis] - cross * cross) * u * u
        vv = (along * matrix[2][2] - slant * slant) * v * v
        room = along - uu - vv
        mixed = 2 * (along * matrix[axis][2] - cross * slant)
        if mixed:
            room -= (mixed * u) * v
        half = np.sqrt(np.maximum(room, 0)) / along
        middle = body.centre[depth] - (cross * u + slant * v) / along
        return rows, columns, middle - half, middle + half

    def add(self, total: Array, body: Ellipsoid, attenuation: float) -> None:
        """Add attenuation × path length."""
        rows, columns, near, far = self.interval(body)
        total[rows, columns] += attenuation * (far - near)


def sigmoid(values: Array) -> Array:
    """A smooth step from 0 to 1."""
    result: Array = 1 / (1 + np.exp(np.clip(-values, -60, 60)))
    return result


def overlap(*intervals: Sequence[Array]) -> Array:
    """Length of the part that all (near, far) intervals share, mm."""
    near, far = intervals[0]
    for low, high in intervals[1:]:
        near, far = np.maximum(near, low), np.minimum(far, high)
    result: Array = np.maximum(far - near, 0)
    return result


def ellipsoid(centre: Vector, half_axes: Vector, tilt: float = 0.0) -> Ellipsoid:
    """An ellipsoid turned by `tilt` radians in the frontal plane (x towards z)."""
    c, s = math.cos(tilt), math.sin(tilt)
    a, b, h = (1 / (axis * axis) for axis in half_axes)
    cross = (a - h) * c * s
    precision = ((a * c * c + h * s * s, 0.0, cross), (0.0, b, 0.0), (cross, 0.0, a * s * s + h * c * c))
    width = math.hypot(half_axes[0] * c, half_axes[2] * s)
    height = math.hypot(half_axes[0] * s, half_axes[2] * c)
    return Ellipsoid(centre, precision, (width, half_axes[1], height))


def rod(start: Vector, direction: Vector, length: float, radius: float) -> Ellipsoid:
    """A spindle that begins at a point; `direction` has length 1."""
    half = length / 2
    thin, stretch = 1 / radius**2, 1 / half**2 - 1 / radius**2
    (x, y, z), (u, v, w) = start, direction
    precision = (
        (stretch * u * u + thin, stretch * u * v, stretch * u * w),
        (stretch * u * v, stretch * v * v + thin, stretch * v * w),
        (stretch * u * w, stretch * v * w, stretch * w * w + thin),
    )
    along, aside = half * half - radius * radius, radius * radius
    extent = (math.sqrt(along * u * u + aside), math.sqrt(along * v * v + aside), math.sqrt(along * w * w + aside))
    return Ellipsoid((x + half * u, y + half * v, z + half * w), precision, extent)
