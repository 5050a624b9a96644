"""The stages of a scoring run: what waits, what overlaps, and that a score does not depend on its neighbours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.cohort.duplicates import Repeat
from medres.imaging.preprocessing import Prepared
from medres.model.classifier import Classifier
from medres.model.heatmaps.fine_maps import Finer
from medres.records import Refusal
from medres.scoring.stages import MOST_PICTURES, MOST_ROWS, Planned, batches, nearly_sorted, overlapped
from tests.test_replies import PREPARED

NOT_READ = Refusal("x", "CORRUPT", "")


def image(pictured: int = 0) -> Prepared:
    return replace(PREPARED, picture=np.broadcast_to(np.uint8(0), (1, pictured)) if pictured else None)


@given(kinds=st.lists(st.sampled_from(["image", "copy", "refused"]), max_size=400), size=st.integers(1, 40))
def test_every_plan_is_in_one_batch_in_order_and_none_holds_more_images_than_a_pass(
    kinds: list[str], size: int
) -> None:
    plans = [
        Planned(str(number), NOT_READ if kind == "refused" else PREPARED, Repeat("1" if kind == "copy" else None))
        for number, kind in enumerate(kinds)
    ]
    found = list(batches(plans, size))
    assert [plan for batch in found for plan in batch] == plans
    for batch in found:
        assert len(batch) <= max(size, MOST_ROWS)
        assert sum(plan.image is not None for plan in batch) <= size
    for batch in found[:-1]:
        assert sum(plan.image is not None for plan in batch) == size or len(batch) == max(size, MOST_ROWS)


def test_a_batch_of_large_pictures_is_closed_before_they_fill_the_memory() -> None:
    plans = [Planned(str(number), image(MOST_PICTURES // 3), Repeat()) for number in range(9)]
    assert [len(batch) for batch in batches(plans, 16)] == [4, 4, 1]


@given(paths=st.permutations([f"{number:02d}" for number in range(40)]), window=st.integers(0, 50))
def test_a_window_sorts_what_it_can_hold_and_loses_nothing(paths: list[str], window: int) -> None:
    found = [path for path, _ in nearly_sorted(iter([(path, NOT_READ) for path in paths]), window)]
    assert sorted(found) == sorted(paths)
    if window >= len(paths):
        assert found == sorted(paths)
    if not window:
        assert found == paths


def test_the_next_item_is_fetched_while_one_is_worked_on_and_not_many_more() -> None:
    fetched: list[int] = []
    may_go = threading.Event()

    def items() -> Iterator[int]:
        for number in range(10):
            fetched.append(number)
            if number == 1:
                may_go.set()  # the work on 0 waits for this: were nothing fetched meanwhile, it would not end
            yield number

    def work(number: int) -> int:
        assert may_go.wait(30)
        return number * number

    found = []
    for item, result in overlapped(work, items()):
        found.append((item, result))
        assert len(fetched) <= item + 4
    assert found == [(number, number * number) for number in range(10)]


def test_an_error_of_the_work_or_of_the_items_is_raised_and_no_thread_is_left() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("no more")

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(overlapped(lambda number: 1 // number, [1, 0, 1, 1]))
    with pytest.raises(OSError, match="no more"):
        list(overlapped(lambda number: number, items()))
    stopped = overlapped(lambda number: number, range(100))
    next(stopped)
    stopped.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_a_score_is_the_same_to_the_bit_at_every_place_of_a_batch_and_beside_any_neighbours(small_model: Path) -> None:
    model = Classifier.load(small_model, device="cpu")
    rng = np.random.default_rng(0)
    side = model.preprocessing.size
    pixels = rng.integers(0, 65536, (model.batch, side, side)).astype(np.uint16)
    finer = Finer(labels=(0,))
    whole = model.score_whole_batch(pixels, maps=True, finer=finer)
    order = rng.permutation(model.batch)
    moved = model.score_whole_batch(pixels[order], maps=True, finer=finer)
    few = model.score_whole_batch(pixels[:3], maps=True, finer=finer)
    for name in ("logits", "probabilities", "distances", "maps"):
        assert np.array_equal(getattr(whole, name)[order], getattr(moved, name)), name
        assert np.array_equal(getattr(whole, name)[:3], getattr(few, name)), name
    for place in range(model.batch):
        assert np.array_equal(whole.shown(order[place], 0), moved.shown(place, 0)), place
    assert all(np.array_equal(whole.shown(place, 0), few.shown(place, 0)) for place in range(3))
    assert not whole.split.any()
    with pytest.raises(ValueError, match="more than"):
        model.score_whole_batch(np.concatenate([pixels, pixels]))


def test_images_of_a_pass_that_memory_made_smaller_are_marked(
    small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from medres.model import classifier as module

    model = Classifier.load(small_model, device="cpu")
    real = module.forward

    def little_memory(network: Any, images: torch.Tensor, **asked: Any) -> Any:
        if len(images) > model.batch // 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(network, images, **asked)

    monkeypatch.setattr(module, "forward", little_memory)
    side = model.preprocessing.size
    found = model.score_whole_batch(np.zeros((5, side, side), np.uint16))
    assert found.split.tolist() == [True] * 5
