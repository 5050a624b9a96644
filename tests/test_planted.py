"""How many planted copies of each kind the search for near-duplicates finds in real radiographs: heavy, by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from medres.cohort.planted import FOUND_OF_PLANTED, PLANTED
from medres.cohort.similarity import Likeness, similar_images
from medres.imaging.reading import read_radiograph
from tests.conftest import SHARED, needs_shared
from tests.support.textures import brighter, turned_by, without_edges
from tests.test_leakage import recompressed, small

Pixels = NDArray[np.uint8]


KINDS: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "compressed again": lambda pixels, random: recompressed(pixels, int(random.integers(40, 90))),
    "other brightness": lambda pixels, random: brighter(pixels, random.uniform(0.8, 1.2), random.uniform(-25, 25)),
    "cropped by up to 10 %": lambda pixels, random: without_edges(pixels, tuple(random.uniform(0, 0.1, 4))),
    "cropped by 20 %": lambda pixels, random: without_edges(pixels, (0.1, 0.1, 0.1, 0.1)),
    "cropped by 20 % at a corner": lambda pixels, random: without_edges(pixels, (0.2, 0.0, 0.2, 0.0)),
    "turned by 3 degrees": lambda pixels, random: turned_by(pixels, 3),
    "turned by 7 degrees": lambda pixels, random: turned_by(pixels, 7),
    "mirrored": lambda pixels, random: pixels[:, ::-1].copy(),
    "inverted": lambda pixels, random: (255 - pixels).astype(np.uint8),
    "mirrored and inverted": lambda pixels, random: (255 - pixels[:, ::-1]).astype(np.uint8),
}


def planted(cohort: str, most: int) -> tuple[dict[str, int], list[Likeness]]:
    """How many copies of each kind were found, and pairs of different people that were called copies."""
    table = pd.read_csv(SHARED / cohort / "manifest.csv", dtype=str, keep_default_na=False).head(most)
    originals = [
        np.rint(read_radiograph(SHARED / cohort / path).pixels * 255).astype(np.uint8) for path in table["path"]
    ]
    random = np.random.default_rng(5)
    images, patients = list(map(small, originals)), list(table["PatientID"])
    place: dict[int, tuple[str, int]] = {}
    for kind, make in KINDS.items():
        for number in random.choice(len(originals), PLANTED, replace=False):
            place[len(images)] = (kind, int(number))
            images.append(small(make(originals[number], random)))
            patients.append(f"copy {len(images)}")
    pairs = similar_images(np.stack(images), patients)
    found = dict.fromkeys(KINDS, 0)
    for image, (kind, source) in place.items():
        found[kind] += any({image, source} == {pair.first, pair.second} for pair in pairs)

    def person(image: int) -> str:
        return patients[place[image][1]] if image in place else patients[image]

    return found, [pair for pair in pairs if person(pair.first) != person(pair.second)]


@pytest.mark.sweep
@needs_shared("chest64")
@needs_shared("knee")
@pytest.mark.parametrize(("cohort", "name"), [("chest64", "chests"), ("knee", "knees")])
def test_of_thirty_planted_copies_of_each_kind_so_many_are_found(cohort: str, name: str) -> None:
    found, alarms = planted(cohort, 1000)
    print(cohort, found, "false alarms", len(alarms), [(one.correlation, one.turn) for one in alarms])
    assert len(alarms) <= 2
    for kind, recorded in FOUND_OF_PLANTED.items():
        assert found[kind] == recorded[name], kind
    for kind in ("mirrored", "inverted"):
        assert found[kind] == PLANTED
