"""How numbers, labels and texts are written: one rule for each, on a terminal, in a file name and on a page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from medres.records import Interval

ABSENT = "not recorded"
_THIN = "\u202f"  # the space that groups digits: no break there


def printable(value: Any) -> Any:
    """Text from files without control characters."""
    if isinstance(value, str) and not isinstance(value, Markup) and not value.isprintable():
        return "".join(character if character.isprintable() or character == _THIN else "�" for character in value)
    return value


def figure(value: float | None) -> str:
    """A metric as it is shown.

    >>> figure(0.87349), figure(-0.2), figure(None)
    ('0.873', '−0.200', 'undefined')
    """
    return "undefined" if value is None else f"{value:.3f}".replace("-", "−")


def bounds(result: Interval) -> str:
    """Lower and upper bound of an interval.

    >>> bounds(Interval(0.5, 0.4, 0.6, "", 9, 9)), bounds(Interval(0.5, None, None, "", 9, 9))
    ('0.400 to 0.600', '')
    """
    return "" if result.low is None or result.high is None else f"{figure(result.low)} to {figure(result.high)}"


def with_counts(found: Interval) -> str:
    """A value with its interval and the images and patients behind it, as a terminal shows it.

    >>> with_counts(Interval(0.979, 0.94, 0.993, "", 278, 90)), with_counts(Interval(None, None, None, "", 3, 2))
    ('0.979 (0.940–0.993), n = 278 images of 90 patients', 'undefined (n = 3)')
    """
    if found.value is None:
        return f"undefined (n = {found.n})"
    limits = "" if found.low is None or found.high is None else f" ({found.low:.3f}–{found.high:.3f})"
    return f"{found.value:.3f}{limits}, n = {found.n} images of {found.n_patients} patients"


def percent(value: float) -> str:
    """A share of a hundred, as a whole number; never 0 or 100 where it is not exactly that.

    >>> percent(0.9297), percent(0.996), percent(1.0), percent(0.004), percent(0.0)
    ('93', 'more than 99', '100', 'less than 1', '0')
    """
    rounded = round(100 * value)
    if rounded == 100 and value < 1:
        return "more than 99"
    return "less than 1" if rounded == 0 and value > 0 else str(rounded)


def probability(value: float) -> str:
    """A probability, never rounded to certainty.

    >>> probability(0.5), probability(0.00012), probability(0.99999)
    ('0.500', '< 0.001', '> 0.999')
    """
    if value < 0.001:
        return "< 0.001"
    return "> 0.999" if value > 0.999 else f"{value:.3f}"


def count(value: Any) -> str:
    """A whole number, grouped by thin spaces.

    >>> count(11170753).split("\\u202f"), count(1000)
    (['11', '170', '753'], '1000')
    """
    return f"{value:,}".replace(",", _THIN) if isinstance(value, int) and abs(value) >= 10_000 else str(value)


def recorded(value: Any) -> str:
    """What was recorded, or that it was not."""
    if value is None or value == "":
        return ABSENT
    return count(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)


def spread(values: Sequence[float]) -> str:
    """Thresholds or temperatures of several networks, from the lowest to the highest.

    >>> spread([0.42]), spread([0.5, 0.31, 0.4]), spread([])
    ('0.420', '0.310 to 0.500', 'not recorded')
    """
    if not values:
        return ABSENT
    low, high = (probability(value) if value < 1 else f"{value:.3f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def duration(seconds: Any) -> str:
    """Seconds as a person says them.

    >>> duration(412.0), duration(9000), duration(None)
    ('6 min 52 s', '2 h 30 min', 'not recorded')
    """
    if not isinstance(seconds, int | float):
        return ABSENT
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """A nested configuration as dotted keys and texts."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from flat(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, "none" if value in (None, "", [], {}, ()) else str(value)


_NETWORKS = {
    "resnet18": "ResNet-18",
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "resnet152": "ResNet-152",
    "densenet121": "DenseNet-121",
}


def network_name(architecture: str) -> str:
    """An architecture as people write it."""
    return _NETWORKS.get(architecture, architecture)


def slugs(labels: Sequence[str]) -> list[str]:
    """Labels as parts of file names, no two alike.

    >>> slugs(["Pleural Effusion", "pleural-effusion", "../<b>"])
    ['pleural-effusion', 'pleural-effusion-1', 'b']
    >>> slugs(["a-2", "a", "A"])
    ['a-2', 'a', 'a-2-2']
    """
    found: list[str] = []
    for place, label in enumerate(labels):
        slug = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:40] or "label"
        while slug in found:
            slug = f"{slug}-{place}"
        found.append(slug)
    return found
