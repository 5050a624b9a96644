"""How numbers, labels and texts are written: one rule for each, on a terminal, in a file name and on a page.

A value with its interval is written by `estimate` alone: "0.870 (0.840 to 0.901)" on a page, and with `between=DASH`
"0.870 (0.840–0.901)" on a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from markupsafe import Markup

from medres.records import Interval
from medres.safe_text import without_sequences

ABSENT = "not recorded"
NO_INTERVAL = "no interval"
TO, DASH = " to ", "–"
"""What stands between the bounds of an interval: on a page, and on a terminal, where room is short."""

_THIN = "\u202f"  # the space that groups digits: no break there


class Bounded(Protocol):
    """What has a lower and an upper bound, or None for both."""

    @property
    def low(self) -> float | None:
        """The lower bound."""

    @property
    def high(self) -> float | None:
        """The upper bound."""


def printable(value: Any) -> Any:
    """Text from files without control characters."""
    if isinstance(value, str) and not isinstance(value, Markup) and not value.isprintable():
        shown = without_sequences(value)
        return "".join(character if character.isprintable() or character == _THIN else "�" for character in shown)
    return value


def figure(value: float | None, digits: int = 3, *, minus: str = "−") -> str:
    """A metric as it is shown.

    >>> figure(0.87349), figure(-0.2), figure(None), figure(0.87349, 2)
    ('0.873', '−0.200', 'undefined', '0.87')
    """
    return "undefined" if value is None else f"{value:.{digits}f}".replace("-", minus)


def apart(one: float, other: float, digits: int = 3, *, most: int = 9) -> tuple[str, str]:
    """Two figures with as many digits as it takes to tell them apart, so that neither seems to contradict what is said.

    >>> apart(0.873, 0.42), apart(0.29812, 0.29848), apart(0.5, 0.5)
    (('0.873', '0.420'), ('0.2981', '0.2985'), ('0.500', '0.500'))
    """
    found = next((count for count in range(digits, most + 1) if figure(one, count) != figure(other, count)), digits)
    return figure(one, found), figure(other, found)


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign.

    >>> signed(0.0031), signed(-0.02), signed(None), signed(-0.0001)
    ('+0.003', '−0.020', 'undefined', '0.000')
    """
    if value is None:
        return "undefined"
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def bounds(result: Bounded, *, between: str = TO, digits: int = 3, scale: float = 1, unit: str = "") -> str:
    """Lower and upper bound of an interval, each times `scale` and with its unit; "" where it has none.

    >>> bounds(Interval(0.5, 0.4, 0.6, "", 9, 9)), bounds(Interval(0.5, None, None, "", 9, 9))
    ('0.400 to 0.600', '')
    >>> bounds(Interval(0.5, 0.4, 0.6, "", 9, 9), between=DASH, digits=0, scale=100, unit="%")
    '40%–60%'
    """
    if result.low is None or result.high is None:
        return ""
    return between.join(f"{figure(scale * bound, digits)}{unit}" for bound in (result.low, result.high))


def estimate(result: Interval, *, between: str = TO, digits: int = 3, without: str = "") -> str:
    """A value with its interval in brackets.

    Args:
        result: the estimate.
        between: what stands between the bounds.
        digits: behind the point.
        without: what stands in the brackets where there is no interval; no brackets where it is "".

    >>> estimate(Interval(0.93, 0.88, 0.961, "", 9, 9)), estimate(Interval(0.93, 0.88, 0.961, "", 9, 9), between=DASH)
    ('0.930 (0.880 to 0.961)', '0.930 (0.880–0.961)')
    >>> estimate(Interval(0.5, None, None, "", 9, 9)), estimate(Interval(None, None, None, "", 9, 9))
    ('0.500', 'undefined')
    >>> estimate(Interval(0.5, None, None, "", 9, 9), without=NO_INTERVAL)
    '0.500 (no interval)'
    """
    if result.value is None:
        return figure(None)
    inside = bounds(result, between=between, digits=digits) or without
    return figure(result.value, digits) + (f" ({inside})" if inside else "")


def sample(result: Interval) -> str:
    """On how many images of how many patients an estimate rests.

    >>> sample(Interval(0.5, None, None, "", 9, 8))
    '9 images of 8 patients'
    """
    return f"{result.n} images of {result.n_patients} patients"


def share_of(value: float | None, n: int) -> str:
    """A share with the counts it comes from.

    >>> share_of(0.75, 8), share_of(None, 0)
    ('0.750 (6 of 8)', 'undefined')
    """
    return figure(None) if value is None else f"{figure(value)} ({round(value * n)} of {n})"


def with_counts(found: Interval) -> str:
    """A value with its interval and the images and patients behind it, as a terminal shows it.

    >>> with_counts(Interval(0.979, 0.94, 0.993, "", 278, 90)), with_counts(Interval(None, None, None, "", 3, 2))
    ('0.979 (0.940–0.993), n = 278 images of 90 patients', 'undefined (n = 3)')
    """
    if found.value is None:
        return f"{figure(None)} (n = {found.n})"
    return f"{estimate(found, between=DASH)}, n = {sample(found)}"


def percent(value: float) -> str:
    """A share of a hundred, as a whole number; never 0 or 100 where it is not exactly that.

    >>> percent(0.9297), percent(0.996), percent(1.0), percent(0.004), percent(0.0)
    ('93', 'more than 99', '100', 'less than 1', '0')
    """
    rounded = round(100 * value)
    if rounded == 100 and value < 1:
        return "more than 99"
    return "less than 1" if rounded == 0 and value > 0 else str(rounded)


def percent_bounds(result: Bounded) -> str:
    """The bounds of a share as whole numbers of a hundred; "" where it has none.

    >>> percent_bounds(Interval(0.93, 0.8512, 0.996, "", 9, 9))
    '85 to more than 99'
    """
    if result.low is None or result.high is None:
        return ""
    return TO.join(percent(bound) for bound in (result.low, result.high))


def level(confidence: float) -> str:
    """A confidence level.

    >>> level(0.95), level(0.975), level(1 - 0.05 / 3)
    ('95 %', '97.5 %', '98.3 %')
    """
    return f"{100 * confidence:.3g} %"


def times(ratio: float) -> str:
    """A ratio as a person says it.

    >>> times(2.0), times(0.54), times(12.4)
    ('2.0 times', '0.5 times', '12 times')
    """
    return f"{ratio:.1f} times" if ratio < 10 else f"{ratio:.0f} times"


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
