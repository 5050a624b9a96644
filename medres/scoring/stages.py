"""The stages of a scoring run overlap: files are decoded in processes while the network computes in a thread.

Each stage takes from the one before it as much as it can hold, so that memory stays flat however many files there are:

    decode (processes) → nearly sorted → batches → network (a thread) → rows
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from medres.cohort.duplicates import Repeat
from medres.imaging.preprocessing import Prepared
from medres.records import Refusal

MOST_ROWS = 128
"""Rows that wait for a batch of images to be full."""

MOST_PICTURES = 2**28
"""Bytes of pictures, for heatmaps, that a batch holds; one picture more may be larger than all of them."""

Results = Iterator[tuple[str, Prepared | Refusal]]

Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Planned:
    """A file that was read, or refused, and what its row will be."""

    path: str
    result: Prepared | Refusal
    repeat: Repeat

    @property
    def image(self) -> Prepared | None:
        """What the network has to see; None where there is nothing to score."""
        return self.result if isinstance(self.result, Prepared) and not self.repeat.identical_to else None


def nearly_sorted(results: Results, window: int) -> Results:
    """Results by path, as far as a window of so many allows: the first of several files of one image comes first.

    >>> [path for path, _ in nearly_sorted(iter([("b", 2), ("a", 1), ("c", 3)]), 2)]  # type: ignore[list-item]
    ['a', 'b', 'c']
    """
    held: list[tuple[str, int, Prepared | Refusal]] = []
    for number, (path, result) in enumerate(results):
        heapq.heappush(held, (path, number, result))
        if len(held) > window:
            path, _, result = heapq.heappop(held)
            yield path, result
    while held:
        path, _, result = heapq.heappop(held)
        yield path, result


def batches(plans: Iterable[Planned], size: int) -> Iterator[list[Planned]]:
    """Plans in lists that hold so many images for the network, or fewer: at the end, or where little is to be scored.

    Args:
        plans: in the order in which their rows are made.
        size: images in one pass of the network.
    """
    batch: list[Planned] = []
    images = pictures = 0
    for plan in plans:
        batch.append(plan)
        if (image := plan.image) is not None:
            images += 1
            pictures += 0 if image.picture is None else image.picture.nbytes
        if images == size or len(batch) >= max(size, MOST_ROWS) or pictures > MOST_PICTURES:
            yield batch
            batch, images, pictures = [], 0, 0
    if batch:
        yield batch


def overlapped(
    work: Callable[[Item], Found], items: Iterable[Item], *, threads: int = 1, waiting: int = 1
) -> Iterator[tuple[Item, Found]]:
    """Items with what threads make of them, in their order, while the next ones are fetched; errors are raised here.

    Args:
        work: done in a thread.
        items: fetched in this thread, as long as fewer than `threads + waiting` are being worked on or wait for it.
        threads: that work at a time.
        waiting: items that may wait for them.

    >>> list(overlapped(str.upper, "ab"))
    [('a', 'A'), ('b', 'B')]
    """
    begun: deque[tuple[Item, Future[Found]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                begun.append((item, pool.submit(work, item)))
                while len(begun) > threads + waiting or (begun and begun[0][1].done()):
                    first, future = begun.popleft()
                    yield first, future.result()
            while begun:
                first, future = begun.popleft()
                yield first, future.result()
        finally:
            for _, future in begun:
                future.cancel()
