"""The thorax that phantom radiographs show: bodies of known place, size and attenuation, integrated exactly.

Coordinates are those of `projection`, with the origin in the middle of the field. Every body is one whose path length
along a ray has a closed form (ellipsoids, a trunk of stacked ellipses, rib rings of elliptical shells), so that no
volume is ever sampled. The picture is plausible, not anatomical: lengths are rounded, and small parts are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medres.imaging.projection import Array, Ellipsoid, Rays, Vector, View, ellipsoid, overlap, rod, sigmoid

Sex = Literal["F", "M"]
SEXES: tuple[Sex, ...] = ("F", "M")

# Linear attenuation, per millimetre, at the effective energy of a 120 kV chest film (about 65 keV).
SOFT_TISSUE = 0.0200
LUNG = 0.0055
RIB = 0.0480
MARROW = 0.0280

_RIBS = 10  # pairs, the first to the tenth
_VESSELS = 9  # arteries of one lung that leave the hilum; each has two branches
_JITTERS = 2 * _VESSELS


@dataclass(frozen=True, slots=True)
class Nodule:
    """A sphere of soft tissue in a lung: the finding."""

    centre: Vector  # mm
    radius: float  # mm
    density: float = 1.0  # attenuation as a multiple of soft tissue's; calcified nodules have more than 1


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One person's build; the defaults are a reference man, who needs no random numbers."""

    width: float = 1.0
    depth: float = 1.0
    length: float = 1.0
    wall: float = 14.0  # soft tissue outside the rib cage, mm
    heart: float = 1.0
    inspiration: float = 0.0  # how much lower than usual the diaphragm stands, mm
    dome_difference: float = 8.0  # how much higher the right dome stands than the left, mm
    rib_shift: float = 0.0  # mm towards the feet
    rib_spacing: float = 25.0  # mm
    rib_slope: float = 0.45  # fall towards the front, mm per mm
    bone: float = 1.0
    breast: float = 0.0  # thickness, mm
    stomach_gas: float = 14.0  # half height, mm
    vessel_jitter: tuple[float, ...] = field(default=(0.0,) * _JITTERS)  # radians

    @classmethod
    def draw(cls, rng: np.random.Generator, *, sex: Sex) -> Anatomy:
        """A random person, plausible for the sex; always uses up the same number of random values."""
        slight = -0.07 if sex == "F" else 0.0
        build = rng.normal(0.0, 1.0, 8)
        even = rng.uniform(0.0, 1.0, 5)
        jitter = rng.normal(0.0, 0.14, _JITTERS)
        return cls(
            width=float(np.clip(1.0 + slight + 0.045 * build[0], 0.82, 1.08)),
            depth=float(np.clip(1.0 + slight + 0.06 * build[1], 0.78, 1.15)),
            length=float(np.clip(1.0 + 0.8 * slight + 0.04 * build[2], 0.85, 1.08)),
            wall=float(np.clip(13.0 + 5.0 * build[3], 6.0, 26.0)),
            heart=float(np.clip(1.0 + 0.08 * build[4], 0.82, 1.2)),
            inspiration=float(np.clip(6.0 * build[5], -12.0, 12.0)),
            dome_difference=float(4.0 + 10.0 * even[0]),
            rib_shift=float(-10.0 + 20.0 * even[1]),
            rib_spacing=float(np.clip(25.0 + 1.2 * build[6], 22.0, 28.0)),
            rib_slope=float(0.36 + 0.2 * even[2]),
            bone=float(np.clip(1.0 + 0.15 * build[7], 0.65, 1.35)),
            breast=float(18.0 + 22.0 * even[3]) if sex == "F" else 0.0,
            stomach_gas=float(20.0 * even[4]),
            vessel_jitter=tuple(jitter.tolist()),
        )


def draw_nodules(rng: np.random.Generator, anatomy: Anatomy) -> tuple[Nodule, Nodule]:
    """Two candidate nodules, one in each lung in random order; always uses up the same number of random values.

    They are partly calcified, and their diameter is 12 to 16 % of the field's width. Each sphere lies within its
    lung's ellipsoid, above the diaphragm; the left one also above the heart.
    """
    right_first = rng.uniform() < 0.5
    sides = (-1, 1) if right_first else (1, -1)
    first, second = (_nodule_in_lung(side, rng.uniform(0.0, 1.0, 5), anatomy) for side in sides)
    return first, second


def line_integral(
    anatomy: Anatomy,
    across: Array,
    down: Array,
    *,
    view: View,
    nodules: Sequence[Nodule] = (),
    parenchyma: Array | None = None,
) -> Array:
    """The attenuation that a parallel beam meets, ∫ μ dl, exact for every ray.

    Args:
        anatomy: the person.
        across: (columns,), mm: x for the frontal views, y for the lateral view; increasing.
        down: (rows,), mm: z; increasing. Its dtype is the result's.
        view: lying patients (AP) have a wider heart and a higher diaphragm.
        nodules: what to add to the lungs.
        parenchyma: (rows, columns), relative density of the lungs, or None for 1.

    Returns:
        (rows, columns), dimensionless, >= 0.
    """
    rays = Rays(across, down, view)
    body = _trunk(rays, anatomy)
    total = SOFT_TISSUE * 2 * body
    for breast in _breasts(anatomy, view):
        rows, columns, near, far = rays.interval(breast)
        inside = overlap((near, far), (-body[rows, columns], body[rows, columns]))
        total[rows, columns] += SOFT_TISSUE * ((far - near) - inside)
    aerated = _lungs(rays, anatomy)
    solid = np.zeros_like(total)
    for vessel in _vessels(anatomy):
        rays.add(solid, vessel, 1.0)
    air = aerated if parenchyma is None else aerated * parenchyma
    total -= (SOFT_TISSUE - LUNG) * (air - np.minimum(solid, aerated))
    for nodule in nodules:
        rows, columns, near, far = rays.interval(ellipsoid(nodule.centre, (nodule.radius,) * 3))
        replaced = np.minimum(far - near, aerated[rows, columns])
        total[rows, columns] += (nodule.density * SOFT_TISSUE - LUNG) * replaced
    for cavity in _cavities(anatomy, view):
        rays.add(total, cavity, -SOFT_TISSUE)
    _add_ribs(rays, total, anatomy)
    _add_spine(rays, total, anatomy)
    for bone in _flat_bones(anatomy, view):
        rays.add(total, bone, (RIB - SOFT_TISSUE) * 0.55 * anatomy.bone)
    positive: Array = np.maximum(total, 0)
    return positive


def _trunk(rays: Rays, anatomy: Anatomy) -> Array:
    """Half the path through the trunk, a stack of ellipses: shoulders, neck, chest, waist."""
    z = rays.down
    neck = sigmoid((-180 * anatomy.length - z) / 8)
    shoulder = sigmoid((-118 * anatomy.length - z) / 11)
    arms = 0.0 if rays.view == "LL" else 52.0  # raised for the lateral view
    half_x = (146 * anatomy.width + anatomy.wall + arms * shoulder) * (1 - neck) + 64 * neck
    half_y = (104 * anatomy.depth + 0.6 * anatomy.wall) * (1 - 0.22 * shoulder) * (1 - neck) + 62 * neck
    outer, inner = (half_y, half_x) if rays.view == "LL" else (half_x, half_y)
    scaled = rays.across / outer[:, None]
    result: Array = inner[:, None] * np.sqrt(np.maximum(1 - scaled * scaled, 0))
    return result


def _lungs(rays: Rays, anatomy: Anatomy) -> Array:
    """The path through lung: both lungs less heart, aortic knob and diaphragm."""
    total = np.zeros((rays.down.size, rays.across.size), rays.down.dtype)
    heart, knob = _heart(anatomy, rays.view), _aortic_knob(anatomy)
    for side in (-1, 1):
        lung = _lung(side, anatomy)
        box = rays.box(lung)
        rows, columns, *air = rays.interval(lung, box)
        hollow = rays.interval(heart, box)[2:]
        dome = rays.interval(_dome(side, anatomy, rays.view), box)[2:]
        total[rows, columns] += (
            (air[1] - air[0])
            - overlap(air, hollow)
            - overlap(air, dome)
            + overlap(air, hollow, dome)
            - (overlap(air, rays.interval(knob, box)[2:]) if side == 1 else 0)
        )
    positive: Array = np.maximum(total, 0)
    return positive


def _add_ribs(rays: Rays, total: Array, anatomy: Anatomy) -> None:
    """Ribs: rings of an elliptical shell, cut by two planes that fall towards the front."""
    thickness, half_height = 6.5, 6.0
    weight = (RIB - SOFT_TISSUE) * anatomy.bone
    for number in range(_RIBS):
        level = (-103 + number * anatomy.rib_spacing) * anatomy.length + anatomy.rib_shift
        taper = math.sqrt(max(1 - ((level - 40) / 235) ** 2, 0.1))
        outer = (144 * anatomy.width * taper, 101 * anatomy.depth * taper)
        if rays.view == "LL":
            outer = (outer[1], outer[0])
        inner = (outer[0] - thickness, outer[1] - thickness)
        far = outer[1] * np.sqrt(np.maximum(1 - (rays.across / outer[0]) ** 2, 0))
        near = inner[1] * np.sqrt(np.maximum(1 - (rays.across / inner[0]) ** 2, 0))
        reach = anatomy.rib_slope * 101 * anatomy.depth * taper + half_height
        rows = slice(*np.searchsorted(rays.down, (level - reach, level + reach)).tolist())
        offset = (rays.down[rows] - level)[:, None]
        if rays.view == "LL":
            distance = (offset + anatomy.rib_slope * rays.across) / half_height
            profile = np.sqrt(np.maximum(1 - distance * distance, 0))
            bony = sigmoid((rays.across + 55) / 8)
            total[rows] += weight * 2 * (far - near) * bony * profile
            continue
        high = (half_height - offset) / anatomy.rib_slope  # the planes, as depths along each ray
        low = (-half_height - offset) / anatomy.rib_slope
        back = np.maximum(np.minimum(far, high) - np.maximum(near, low), 0)
        front = np.maximum(np.minimum(-near, high) - np.maximum(-far, low), 0)
        bony = sigmoid((np.abs(rays.across) - 62 * anatomy.width) / 5)  # cartilage further in
        total[rows] += weight * (back + bony * front)


def _add_spine(rays: Rays, total: Array, anatomy: Anatomy) -> None:
    """Vertebral bodies and discs: an elliptical column whose density changes along it."""
    centre, half_x, half_y = (0.0, 66 * anatomy.depth), 17.0 * anatomy.width, 18.0 * anatomy.depth
    outer, inner = (half_y, half_x) if rays.view == "LL" else (half_x, half_y)
    scaled = (rays.across - centre[rays.axis]) / outer
    path = 2 * inner * np.sqrt(np.maximum(1 - scaled * scaled, 0))
    wave = np.cos(np.pi * rays.down / (24 * anatomy.length)) ** 2
    body = 1 - 0.7 * wave * wave * wave * wave
    total += ((MARROW - SOFT_TISSUE) * anatomy.bone * body)[:, None] * path


def _lung_axes(anatomy: Anatomy) -> tuple[Vector, Vector]:
    """Centre (of the left lung) and half axes of a lung's ellipsoid; the diaphragm cuts its lower part off."""
    return (
        (71 * anatomy.width, 4 * anatomy.depth, 25 * anatomy.length),
        (61 * anatomy.width, 88 * anatomy.depth, 172 * anatomy.length),
    )


def _lung(side: int, anatomy: Anatomy) -> Ellipsoid:
    (x, y, z), half_axes = _lung_axes(anatomy)
    return ellipsoid((side * x, y, z), half_axes, tilt=side * 0.04)


def _dome_top(side: int, anatomy: Anatomy, view: View) -> float:
    lying = 14.0 if view == "AP" else 0.0
    return 82 * anatomy.length + anatomy.inspiration - lying + (side * 0.5 * anatomy.dome_difference)


def _dome(side: int, anatomy: Anatomy, view: View) -> Ellipsoid:
    half_axes = (84 * anatomy.width, 118 * anatomy.depth, 105.0)
    return ellipsoid((side * 66 * anatomy.width, -12.0, _dome_top(side, anatomy, view) + 105.0), half_axes)


def _heart(anatomy: Anatomy, view: View) -> Ellipsoid:
    size = anatomy.heart * (1.12 if view == "AP" else 1.0)
    half_axes = (64 * size * anatomy.width, 46 * size * anatomy.depth, 47 * size * anatomy.length)
    centre = (20 * anatomy.width, -28 * anatomy.depth, 0.45 * anatomy.inspiration + 48 * anatomy.length)
    return ellipsoid(centre, half_axes, tilt=0.62)


def _aortic_knob(anatomy: Anatomy) -> Ellipsoid:
    return ellipsoid((22 * anatomy.width, 16.0, -62 * anatomy.length), (18.0, 34.0, 19.0))


def _breasts(anatomy: Anatomy, view: View) -> Iterable[Ellipsoid]:
    if anatomy.breast:
        flat = 0.6 if view == "AP" else 1.0
        front = -(104 * anatomy.depth + 0.6 * anatomy.wall) * 0.84
        for side in (-1, 1):
            yield ellipsoid((side * 74 * anatomy.width, front, 52.0), (60.0, 12 + 0.75 * anatomy.breast * flat, 58.0))


def _cavities(anatomy: Anatomy, view: View) -> Iterable[Ellipsoid]:
    """Air that is not lung: trachea, main bronchi, gas in the stomach."""
    yield ellipsoid((2.0, 10.0, -128 * anatomy.length), (8.5, 8.5, 82 * anatomy.length))
    for side in (-1, 1):
        yield ellipsoid((side * 17.0, 12.0, -42.0 * anatomy.length), (22.0, 6.0, 6.0), tilt=side * 0.75)
    if anatomy.stomach_gas > 4:
        top = _dome_top(1, anatomy, view) + 16 + anatomy.stomach_gas
        yield ellipsoid((66 * anatomy.width, -20.0, top), (30.0, 26.0, anatomy.stomach_gas))


def _flat_bones(anatomy: Anatomy, view: View) -> Iterable[Ellipsoid]:
    """Clavicles, scapulae and sternum."""
    w, d, h = anatomy.width, anatomy.depth, anatomy.length
    yield ellipsoid((0.0, -92 * d, -20 * h), (17.0, 6.0, 85 * h))
    for side in (-1, 1):
        if view != "LL":  # with raised arms both leave the field
            yield ellipsoid((side * 82 * w, -66 * d, -128 * h), (78 * w, 7.0, 6.5), tilt=side * -0.22)
            yield ellipsoid((side * 152 * w, 40 * d, -92 * h), (13.0, 9.0, 66 * h), tilt=side * -0.2)


def _vessels(anatomy: Anatomy) -> Iterable[Ellipsoid]:
    """Hila, and the arteries that fan out from them and branch."""
    w, d, h = anatomy.width, anatomy.depth, anatomy.length
    for lung, side in enumerate((-1, 1)):
        hilum = (side * 44 * w, 10.0 * d, (-18.0 if side < 0 else -26.0) * h)
        yield ellipsoid(hilum, (9.0, 14.0, 17.0), tilt=side * -0.3)
        for number in range(_VESSELS):
            part = number / (_VESSELS - 1)
            angle = -1.25 + 2.65 * part + anatomy.vessel_jitter[lung * _VESSELS + number]
            rise = 0.55 * math.sin(2.4 * number + side)  # out of the frontal plane
            length = (46 + 24 * part) * h
            start, radius = hilum, 3.6
            for turn, shrink in ((0.0, 1.0), (0.34, 0.72), (-0.30, 0.66)):
                flat = math.cos(rise)
                direction = (side * flat * math.cos(angle + turn), math.sin(rise), flat * math.sin(angle + turn))
                yield rod(start, direction, length * shrink, radius * shrink)
                if turn == 0.0:
                    x, y, z = (s + 0.8 * length * part for s, part in zip(start, direction, strict=True))
                    start = (x, y, z)


def _nodule_in_lung(side: int, even: NDArray[np.float64], anatomy: Anatomy) -> Nodule:
    """A sphere in one lung, from five values in [0, 1)."""
    (x, y, z), (half_x, half_y, half_z) = _lung_axes(anatomy)
    radius = 20.8 + 6.8 * float(even[0])  # 12 to 16 % of 345.6 mm, as a diameter
    lowest = min(_dome_top(side, anatomy, "AP") - 0.6 * radius, 60.0) if side < 0 else -8.0 * anatomy.length
    highest = z - 0.78 * half_z + radius
    level = highest + (lowest - radius - highest) * float(even[1])
    narrow = math.sqrt(max(1 - ((level - z) / half_z) ** 2, 0.0))
    # Most of the disc that the lung offers, less its inner third, where spine and great vessels would hide a nodule.
    swing, angle = math.sqrt(float(even[2])), 1.26 * math.pi * (float(even[3]) - 0.5)
    across = max(half_x * narrow - radius, 0.0) * swing * math.cos(angle)
    along = max(half_y * narrow - radius, 0.0) * swing * math.sin(angle)
    return Nodule((side * (x + across), y + along, level), radius, density=2.4 + 0.6 * float(even[4]))
