"""Metrics in natural frequencies: whole numbers that add up, never more certain than the metric."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.records import Interval
from medres.report.natural_frequencies import calls

SHARES = st.floats(0, 1)


def share(value: float | None, low: float | None = None, high: float | None = None, n_patients: int = 200) -> Interval:
    return Interval(value, low, high, "a method", 250, n_patients)


@given(sensitivity=SHARES, specificity=SHARES, prevalence=SHARES)
def test_a_thousand_radiographs_add_up_and_none_is_negative(
    sensitivity: float, specificity: float, prevalence: float
) -> None:
    found = calls(share(sensitivity), share(specificity), share(0.5), prevalence).thousand
    assert found is not None
    parts = [part.value for part in (found.found, found.missed, found.alarms, found.cleared)]
    assert sum(parts) == 1000
    assert min(parts) >= 0
    assert parts[0] + parts[1] == round(1000 * prevalence)


@given(value=SHARES, other=SHARES)
def test_false_alarms_are_what_specificity_leaves(value: float, other: float) -> None:
    low, high = sorted((value, other))
    alarms = calls(share(1.0), share(low, low, high), share(0.5), 0.5).alarms
    assert alarms is not None
    assert alarms.value == pytest.approx(1 - low)
    assert (alarms.low, alarms.high) == (pytest.approx(1 - high), pytest.approx(1 - low))


@given(value=SHARES)
def test_a_share_is_certain_only_where_it_is_exactly_that(value: float) -> None:
    words = str(calls(share(value), share(value), share(value), 0.5).found)
    assert (words == "100") == (value == 1)
    assert (words == "0") == (value == 0)


def test_what_is_undefined_is_not_said() -> None:
    said = calls(share(None), share(0.9), share(None), 0.0)
    assert said.found is said.right is said.thousand is None
    assert str(said.alarms) == "10"
