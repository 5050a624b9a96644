"""The visible list of what is measured of heatmaps; whoever shows, judges or writes a measure asks this list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RANDOM, CENTRE, MEAN_MAP, CHANCE = "random", "centre", "mean map", "chance"
"""What maps are compared with."""

BASELINES = {
    RANDOM: "a random order of the same cells",
    CENTRE: "a blot in the middle of the radiograph, the same for every image",
    MEAN_MAP: "the mean of the maps of other patients",
    CHANCE: "a random point of the radiograph",
}
"""Each in words."""


@dataclass(frozen=True, slots=True)
class MapMeasure:
    """One thing that is measured of every map, as a mean over images."""

    name: str
    title: str
    meaning: str
    judged: Literal["gain", "at most", "at least", ""]  # against baselines, or a limit; "": told, not judged
    lower_is_better: bool = False
    limit: str = ""  # of config.HeatmapEvidence
    baselines: tuple[str, ...] = ()
    fails: bool = False  # a bad result is evidence against the maps; else they are only not validated
    if_given: bool = False  # needs boxes, or other networks, and is not missed where there are none
    share: bool = False  # each image has 0 or 1
    digits: int = 2


MEASURES = (
    MapMeasure(
        "deletion", "Deletion", "score while the map's cells are blurred away, strongest first", "gain",
        lower_is_better=True, baselines=(RANDOM,), fails=True,
    ),
    MapMeasure(
        "insertion", "Insertion", "score while the map's cells appear in a blurred image, strongest first", "gain",
        baselines=(RANDOM,),
    ),
    MapMeasure(
        "road", "ROAD", "score when the map's strongest cells are filled from their neighbours", "gain",
        lower_is_better=True, baselines=(RANDOM,), fails=True,
    ),
    MapMeasure(
        "randomised", "Left with shuffled weights", "rank correlation with the map of a network that knows nothing",
        "at most", lower_is_better=True, limit="most_left", fails=True,
    ),
    MapMeasure(
        "randomised last stage", "Left with a shuffled last stage", "the same, only head and last stage shuffled", "",
        lower_is_better=True,
    ),
    MapMeasure(
        "randomised head", "Left with a shuffled head", "the same, only the last layer shuffled", "",
        lower_is_better=True,
    ),
    MapMeasure(
        "randomised structure", "Structure left", "structural similarity with the map of shuffled weights", "",
        lower_is_better=True,
    ),
    MapMeasure(
        "shift", "Shifted by a pixel", "structural similarity of the maps of an image and of the same, shifted",
        "at least", limit="least_alike", fails=True,
    ),
    MapMeasure(
        "shift peak", "Peak moves when shifted", "network pixels", "", lower_is_better=True, digits=1,
    ),
    MapMeasure(
        "networks", "Likeness between folds' maps", "structural similarity with the map of a network of other patients",
        "at least",
        limit="least_alike", if_given=True,
    ),
    MapMeasure("networks ranks", "Likeness between folds' maps, by rank", "rank correlation of the same maps", ""),
    MapMeasure(
        "networks peak", "Peak moves between networks", "network pixels", "", lower_is_better=True, digits=1,
    ),
    MapMeasure(
        "outside", "Outside of the anatomy", "share of the evidence in corners and in the black around", "at most",
        lower_is_better=True, limit="most_outside", fails=True,
    ),
    MapMeasure(
        "pointing", "Peak on or near a box", "share of called images with boxes", "gain",
        baselines=(CENTRE, MEAN_MAP, CHANCE), fails=True, if_given=True, share=True,
    ),
    MapMeasure(
        "pointing strict", "Peak on a box", "the same, strictly", "", baselines=(CENTRE, MEAN_MAP, CHANCE),
        if_given=True, share=True,
    ),
    MapMeasure(
        "inside", "Evidence inside of boxes", "share of the evidence", "gain", baselines=(CENTRE, MEAN_MAP),
        if_given=True,
    ),
    MapMeasure(
        "overlap", "Overlap with boxes", "intersection over union of the boxes and the map above its contour", "gain",
        baselines=(CENTRE, MEAN_MAP), if_given=True,
    ),
)  # fmt: skip
"""In the order in which they are shown."""


def value_name(measure: str, baseline: str = "") -> str:
    """What a measured image calls a value of the map itself, or of what it is compared with.

    >>> value_name("deletion"), value_name("deletion", "random")
    ('deletion', 'deletion of random')
    """
    return f"{measure} of {baseline}" if baseline else measure
