"""Pictures for the page, over HTTP: stored values, what is known of them, and the heatmaps that were kept with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial

import numpy as np

from medres.config import Limits
from medres.imaging.isolation import done_isolated
from medres.imaging.viewing.presentation import present
from medres.imaging.viewing.records import Presentation
from medres.review.cases import Case, Worklist
from medres.review.heatmaps import shown_maps, stored_heatmaps
from medres.review.sent import ShownMaps
from medres.review.stored import Geometry

QUICK = 512
"""Pixels a side that suffice for a first look, where an image holds a smaller copy of itself."""

_WORD = 4  # bytes that every part begins at a multiple of


def picture(worklist: Worklist, case: Case, *, quick: bool = False) -> bytes:
    """A case's picture as `app/room/message.mjs` reads it.

    The file must still be what was scored. It is decoded in a process that can be killed.

    Args:
        worklist: that holds the case.
        case: which.
        quick: a smaller copy where the file holds one, else the whole, which is decoded once.

    Raises:
        Refused: OUTSIDE_ROOT, UNREADABLE or CHANGED, or as `read_radiograph`.
    """
    spec = worklist.model.preprocessing
    job = partial(
        present, gate=worklist.model.gate, voi=spec.voi, percentiles=spec.percentiles, limits=Limits(),
        sha256=case.sha256, shorter_side=QUICK if quick else None,
    )  # fmt: skip
    found = done_isolated(job, worklist.locate(case), limits=Limits())
    geometry = Geometry(found.rows, found.columns, found.pixel_aspect_ratio, found.left_limb)
    maps = stored_heatmaps(worklist.model, worklist.evidence.of(case.sha256), geometry, case.positive)
    return packed(found, {label: shown_maps(label, one) for label, one in maps.items()})


def packed(found: Presentation, maps: Mapping[str, ShownMaps]) -> bytes:
    """One message: a length (uint32, little-endian), a JSON header of that length, levels, modality values, tables.

    Args:
        found: the picture.
        maps: the heatmaps that are kept of it, by label.
    """
    spacing = found.spacing
    header = {
        "size": {"rows": found.levels.shape[0], "columns": found.levels.shape[1]},
        "native": {"rows": found.rows, "columns": found.columns},
        "count": found.count,
        "inverted": found.inverted,
        "padding": found.padding,
        "windows": [asdict(window) for window in found.windows],
        "tables": found.table_names,
        "chosen": found.chosen,
        "spacing": (spacing.row, spacing.column) if spacing else None,
        "keyword": spacing.keyword if spacing else "",
        "where": spacing.where if spacing else "",
        "aspect": found.pixel_aspect_ratio,
        "edges": found.edges,
        "shutter": asdict(found.shutter) if found.shutter else None,
        "maps": {label: one.model_dump(mode="json") for label, one in maps.items()},
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _WORD)
    parts = [len(text).to_bytes(4, "little"), text, _whole_words(found.levels.astype("<u2", copy=False).tobytes())]
    parts.append(found.modality.astype("<f4", copy=False).tobytes())
    parts += [_whole_words(table.tobytes()) for table in np.asarray(found.tables, "<u2")]
    return b"".join(parts)


def _whole_words(part: bytes) -> bytes:
    return part + b"\0" * (-len(part) % _WORD)
