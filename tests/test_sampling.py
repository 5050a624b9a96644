"""Which images are measured: as many as the cost allows, whole draws, the same for the same seed on every machine."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from medres.config import load_config
from medres.evaluation.heatmaps.sampling import MAP, cost_of_altering, counts, drawn
from medres.runs.heatmaps.checks import training_passes
from medres.runs.records import FoldRecord


@given(
    st.floats(0, 1e6),
    st.integers(1, 14),
    st.integers(1, 5),
    st.integers(0, 9),
    st.integers(1, 300),
)
def test_what_is_measured_never_costs_more_than_it_may(
    passes: float, labels: int, networks: int, others: int, most: int
) -> None:
    found = counts(passes, labels=labels, networks=networks, others=others, most=most)
    spent = found.altered * cost_of_altering(networks, others) + found.mapped * MAP * networks
    assert labels * spent <= passes * 1.02 + 1e-6
    assert 0 <= found.altered <= found.mapped <= most
    more = counts(2 * passes, labels=labels, networks=networks, others=others, most=most)
    assert (more.altered, more.mapped) >= (found.altered, found.mapped)


@given(st.lists(st.sampled_from("abcdefgh"), max_size=40), st.integers(0, 45), st.integers(0, 9))
def test_every_patient_is_drawn_once_before_one_is_drawn_twice(patients: list[str], most: int, seed: int) -> None:
    places = drawn(patients, most, seed=[seed])
    assert len(set(places)) == len(places) == min(most, len(patients))
    assert places == drawn(patients, most, seed=[seed])
    owners = [patients[place] for place in places]
    times = [owners.count(name) for name in set(patients)]
    fewest = min(
        (count for name, count in zip(set(patients), times, strict=True) if count < patients.count(name)),
        default=max(times, default=0),
    )
    assert max(times, default=0) <= fewest + 1
    assert drawn(patients, most, seed=[seed])[: max(0, most - 1)] == drawn(patients, max(0, most - 1), seed=[seed])


def test_the_cost_is_counted_in_passes_of_full_size_and_not_in_seconds() -> None:
    config = load_config("quick")  # 4 epochs at 64 pixels, then 11 at 128
    fold = FoldRecord(fold=0, training_images=100, validation_images=10, epochs=6, seconds=1e9)
    assert training_passes(config, [fold]) == 4 * (3 * 100 / 4 + 10) + 2 * (3 * 100 + 10)
    assert training_passes(config, [fold, fold]) == 2 * training_passes(config, [fold])
    probe = config.model_copy(update={"training": config.training.model_copy(update={"method": "linear-probe"})})
    assert training_passes(probe, [fold]) == 110
