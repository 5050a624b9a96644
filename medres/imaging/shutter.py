"""The display shutter of a header: which part of the image a viewer is asked to hide."""

from __future__ import annotations

import math

from pydicom.dataset import Dataset

from medres.imaging import header
from medres.records import Shutter

_EDGES = (
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
)


def read_shutter(dataset: Dataset) -> Shutter | None:
    """The display shutter (PS3.3 C.7.6.11), of enhanced objects that of the frame (C.7.6.16.2); None without one."""
    where = header.functional_group(dataset, "FrameDisplayShutterSequence", "ShutterShape")
    said = tuple(header.clean(str(value))[0].upper() for value in header.values(where, "ShutterShape") or ())
    shapes = tuple(shape for shape in said if header.is_code(shape))
    if not shapes:
        return None
    edges = tuple(header.integer(where, keyword) for keyword in _EDGES)
    centre, radius = _whole(where, "CenterOfCircularShutter"), header.integer(where, "RadiusOfCircularShutter")
    corners = _whole(where, "VerticesOfThePolygonalShutter")
    return Shutter(
        shapes=shapes,
        rectangle=edges if "RECTANGULAR" in shapes and None not in edges else None,  # type: ignore[arg-type]
        circle=(*centre, radius) if "CIRCULAR" in shapes and len(centre) == 2 and radius is not None else None,
        polygon=tuple(zip(corners[::2], corners[1::2], strict=False)) if "POLYGONAL" in shapes else (),
    )


def _whole(dataset: Dataset, keyword: str) -> tuple[int, ...]:
    found = header.numbers(dataset, keyword)
    return tuple(int(value) for value in found) if all(map(math.isfinite, found)) else ()
