"""Heatmaps of held-out images: images are altered, shifted and shown to other networks, for `heatmaps.json`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medres.cohort.boxes import Boxes
from medres.config import Config
from medres.evaluation.heatmaps.anatomy import energy_outside
from medres.evaluation.heatmaps.cells import Cells
from medres.evaluation.heatmaps.faithfulness import alterations, curves, random_order
from medres.evaluation.heatmaps.localisation import localisation, means_of_others
from medres.evaluation.heatmaps.measures import RANDOM, value_name
from medres.evaluation.heatmaps.results import FORMAT, HeatmapResults, LabelHeatmaps, MeasuredMap
from medres.evaluation.heatmaps.sampling import MAP, Counts, cost_of_altering, counts, drawn
from medres.evaluation.heatmaps.summary import summarise_label
from medres.evaluation.results import Metrics
from medres.evaluation.table import judged_images
from medres.imaging.isolation import Workers
from medres.imaging.preprocessing import Placement, place, prepare
from medres.model.classifier import Classifier
from medres.model.heatmaps.grid import SHOWN, Grid, grid_of
from medres.model.heatmaps.many_maps import maps_of, shuffled
from medres.model.network import RadiographNetwork
from medres.provenance import now
from medres.records import Refusal
from medres.runs.cohort import TrainingCohort
from medres.statistics.map_similarity import peak_distance, rank_correlation, structural_similarity
from medres.statistics.pointing import Rectangle

log = logging.getLogger(__name__)

METHOD = "cam"
_TOGETHER = 4  # images whose copies are scored in one go
_SHUFFLED_AS = {"head": "randomised head", "last stage": "randomised last stage", "all": "randomised"}


@dataclass(frozen=True, slots=True)
class Judge:
    """A model whose maps are measured, and the images that it had not seen."""

    model: Classifier
    others: tuple[Classifier, ...]  # whose maps of the same images are compared with its own
    places: tuple[int, ...]  # of its images in the cohort, one per row of its part of the table

    @property
    def networks(self) -> list[RadiographNetwork]:
        """Whose mean a map is."""
        return [member.network for member in self.model.members]


@dataclass(frozen=True)
class Measuring:
    """What is measured, on what, and for how much."""

    cohort: TrainingCohort
    table: pd.DataFrame  # as `table.read_table` gives it: the judges' images, one judge after the other
    judges: Sequence[Judge]
    config: Config
    boxes: Boxes | None = None
    passes: float | None = None  # of images through a network that may be spent; None: no matter
    measured_on: str = ""  # whose images, in words
    share_of: float | None = None  # passes of the training; None: not known

    @cached_property
    def judge_of(self) -> list[tuple[Judge, int]]:
        """For every row of the table, whose it is, and the image's place in the cohort."""
        return [(judge, place) for judge in self.judges for place in judge.places]

    @property
    def labels(self) -> tuple[str, ...]:
        """What the models were asked."""
        return self.judges[0].model.labels

    @cached_property
    def counts(self) -> Counts:
        """How many images of a label are measured."""
        first = self.judges[0]
        return counts(
            self.passes,
            labels=len(self.labels),
            networks=len(first.networks),
            others=len(first.others),
            most=self.config.evaluation.heatmaps.images,
        )


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One map and what was measured of it so far."""

    place: int  # in the cohort
    patient: str
    cells: NDArray[np.float32]  # (k, k)
    values: dict[str, float] = field(default_factory=dict)


def measure_heatmaps(work: Measuring, metrics: Metrics) -> HeatmapResults:
    """Measure the maps of every label on called images, and judge them.

    Args:
        work: what is measured.
        metrics: the figures of every label on the same images.
    """
    started = time.monotonic()
    evaluation, seed = work.config.evaluation, work.config.seed
    labels: dict[str, LabelHeatmaps] = {}
    spent, seen, sampled = 0.0, set[int](), False
    for number, label in enumerate(work.labels):
        images = judged_images(work.table, label)
        called = images.rows[images.positive == 1]
        patients = [str(work.table["PatientID"].iloc[row]) for row in called]
        order = drawn(patients, work.counts.mapped, seed=[seed, number])
        chosen = [int(called[place]) for place in order]
        maps = _measure_label(work, label, chosen)
        labels[label] = summarise_label(
            [MeasuredMap(label, one.patient, one.values) for one in maps], metrics.labels[label],
            called=len(called), evaluation=evaluation, seed=seed,
        )  # fmt: skip
        spent += _cost(work, labels[label])
        seen |= {one.place for one in maps}
        sampled |= labels[label].altered < len(called)
        log.info(
            "heatmaps of %s: %s, %d of %d called images measured", label, labels[label].state, len(maps), len(called)
        )
    return HeatmapResults(
        format=FORMAT,
        method=METHOD,
        stride=SHOWN,
        measured_on=work.measured_on,
        images=len(seen),
        passes=round(spent, 1),
        share=round(spent / work.share_of, 4) if work.share_of else None,
        sampled=sampled,
        seconds=round(time.monotonic() - started, 1),
        boxes_sha256=work.boxes.sha256 if work.boxes else "",
        limits={
            name: float(value) for name, value in evaluation.heatmaps.model_dump().items() if name not in _NO_LIMITS
        },
        labels=labels,
        created=now(),
    )


_NO_LIMITS = ("measured", "cost", "images")


def _cost(work: Measuring, found: LabelHeatmaps) -> float:
    """Passes that a label took."""
    first = work.judges[0]
    altering = cost_of_altering(len(first.networks), len(first.others))
    return found.mapped * MAP * len(first.networks) + found.altered * altering


def _measure_label(work: Measuring, label: str, rows: Sequence[int]) -> list[_Drawn]:
    """The maps of a label on some rows of the table, of which the first are altered as well."""
    found: list[_Drawn] = []
    number, altered = work.labels.index(label), set(rows[: work.counts.altered])
    for judge in work.judges:
        own = [row for row in rows if work.judge_of[row][0] is judge]
        if not own:
            continue
        places = [work.judge_of[row][1] for row in own]
        pixels = np.asarray(work.cohort.cache.pixels[places])
        cells = maps_of(judge.networks, pixels, number, device=judge.model.device)
        grid = _cells(judge.model, cells)
        drawn_here = [
            _Drawn(place, work.cohort.rows[place].patient_id, one) for place, one in zip(places, cells, strict=True)
        ]
        for one, image in zip(drawn_here, pixels, strict=True):
            one.values["outside"] = energy_outside(one.cells, image, grid)
        which = [place for place, row in enumerate(own) if row in altered]
        if which:
            chosen = [drawn_here[place] for place in which]
            _alter(judge, number, chosen, pixels[which], seed=work.config.seed)
            _draw_again(judge, number, chosen, pixels[which], seed=work.config.seed)
        found += drawn_here
    if work.boxes:
        _locate(work, label, found)
    return found


def _cells(model: Classifier, maps: NDArray[np.float32]) -> Cells:
    grid, size = _grid(model, maps.shape[1]), model.preprocessing.size
    return Cells(maps.shape[1], size, grid.first, grid.stride)


def _grid(model: Classifier, side: int) -> Grid:
    return grid_of(model.card.architecture, model.preprocessing.size, side)


def _alter(judge: Judge, number: int, maps: Sequence[_Drawn], pixels: NDArray[np.uint16], *, seed: int) -> None:
    """Take cells away in the map's order and in a random one, and look at the score."""
    grid = _cells(judge.model, np.stack([one.cells for one in maps]))
    for start in range(0, len(maps), _TOGETHER):
        part = [
            alterations(
                image,
                {"map": one.cells, RANDOM: random_order(one.cells, seed=[seed, number, one.place])},
                grid,
                seed=[seed, number, one.place, 1],
            )
            for one, image in zip(maps[start : start + _TOGETHER], pixels[start : start + _TOGETHER], strict=True)
        ]
        scores = judge.model.score(np.concatenate([one.images for one in part])).probabilities[:, number]
        ends = np.cumsum([len(one.images) for one in part])
        for one, altered, own in zip(maps[start:], part, np.split(scores, ends[:-1]), strict=False):
            for name, value in curves(altered, own).items():
                measure, _, order = name.partition(" ")
                one.values[value_name(measure, "" if order == "map" else order)] = value


def _draw_again(judge: Judge, number: int, maps: Sequence[_Drawn], pixels: NDArray[np.uint16], *, seed: int) -> None:
    """Compare maps with those of the shifted image, of networks of shuffled weights, and of other networks."""
    device, stride = judge.model.device, SHOWN
    moved = maps_of(judge.networks, _shifted(pixels), number, device=device)
    for one, other in zip(maps, moved, strict=True):
        one.values["shift"] = structural_similarity(one.cells, other)
        one.values["shift peak"] = stride * peak_distance(one.cells.clip(min=0), other.clip(min=0))
    copies = [shuffled(network, seed=seed + place) for place, network in enumerate(judge.networks)]
    for level in zip(*copies, strict=True):
        name = _SHUFFLED_AS[level[0][0]]
        ignorant = maps_of([copy for _, copy in level], pixels, number, device=device)
        for one, other in zip(maps, ignorant, strict=True):
            one.values[name] = abs(rank_correlation(one.cells, other))
            if name == "randomised":
                one.values["randomised structure"] = structural_similarity(one.cells, other)
    if judge.others:
        others = [
            maps_of([member.network for member in model.members], pixels, number, device=device)
            for model in judge.others
        ]
        for one, those in zip(maps, zip(*others, strict=True), strict=True):
            one.values["networks"] = _mean(structural_similarity(one.cells, other) for other in those)
            one.values["networks ranks"] = _mean(rank_correlation(one.cells, other) for other in those)
            one.values["networks peak"] = stride * _mean(
                peak_distance(one.cells.clip(min=0), other.clip(min=0)) for other in those
            )


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _shifted(pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The images one pixel further down and to the right; the first row and column stay as well."""
    return np.pad(pixels, ((0, 0), (1, 0), (1, 0)), mode="edge")[:, :-1, :-1]


def _locate(work: Measuring, label: str, maps: Sequence[_Drawn]) -> None:
    """Measure maps of images that have boxes by these."""
    assert work.boxes
    rows = {one.place: work.cohort.cache.images[one.place].row for one in maps}
    boxed = [number for number, one in enumerate(maps) if work.boxes.of(rows[one.place], label)]
    if not boxed:
        return
    model = work.judges[0].model
    placements = _placements(work, [maps[number].place for number in boxed])
    means = means_of_others(np.stack([one.cells for one in maps]), [one.patient for one in maps])
    square = place(model.preprocessing.size, model.preprocessing.size, size=model.preprocessing.size)
    grid = _grid(model, len(maps[0].cells))
    for number in boxed:
        one, other = maps[number], means[number]
        if (placement := placements.get(one.place)) is None:
            continue
        boxes = [Rectangle(*box.input_edges(placement)) for box in work.boxes.of(rows[one.place], label)]
        one.values.update(
            localisation(
                grid.restored(square, one.cells.clip(min=0)),
                None if other is None else grid.restored(square, other.astype(np.float32)),
                boxes,
                np.asarray(work.cohort.cache.pixels[one.place]),
                work.config.evaluation.heatmaps,
            )
        )


def refuse_boxes_outside(boxes: Boxes, cohort: TrainingCohort) -> None:
    """Refuse boxes that do not lie on their images, before anything is trained.

    Raises:
        ManifestError: names the first.
    """
    for image in cohort.cache.images:
        rows, columns = (image.attributes.get(name, "") for name in ("Rows", "Columns"))
        if rows and columns:
            boxes.refuse_outside(image.row, int(rows), int(columns))


def _placements(work: Measuring, places: Sequence[int]) -> dict[int, Placement]:
    """Where images lie in the network's square; their files are read again, for the cache holds only the square."""
    config, paths = work.config, [work.cohort.rows[place].path for place in places]
    job = partial(prepare, spec=config.preprocessing, gate=config.gate, limits=config.limits)
    found = {}
    with Workers(limits=config.limits) as workers:
        results = workers.map(job, map(str, paths), ordered=True)
        for number, (_, result) in zip(places, results, strict=True):
            if isinstance(result, Refusal):
                log.warning("no box of %s is used: it was refused when it was read again", result.path)
            else:
                found[number] = result.placement
    return found
