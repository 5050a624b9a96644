"""How far the readers agree with each other and with the model, as a page of tables."""

from __future__ import annotations

from collections.abc import Sequence

import started
import streamlit as st
from markup import Markup, filled, heading, joined, show
from worklist_page import reader_name

from medres.formatting import NO_INTERVAL, estimate
from medres.review.cases import Worklist
from medres.review.store import ReviewStore, Verdict
from medres.review.verdicts.agreement import Agreement, Counts, Pair, agreement
from medres.review.verdicts.blinding import visible

BLINDED = "Only images that you have judged count here: what others said of the rest is shown once you have said yours."
NOBODY = "Choose in the worklist who you are: what readers said is shown of the images that you have judged."
KINDS = {"agree": "Agree", "disagree": "Disagree", "unsure": "Unsure", "own": "Own grade", "skipped": "Skipped"}


def show_agreement(worklist: Worklist, store: ReviewStore) -> None:
    """The page."""
    with st.container(key="navigation", horizontal=True, vertical_alignment="center"):
        if st.button("Worklist", icon=":material/arrow_back:", shortcut="b"):
            del st.query_params["page"]
            st.rerun()
        heading("Readers compared")
    reader, blinded = reader_name(), started.room().blinded
    changes = store.changes(worklist.model.model_id)
    verdicts = visible(changes.verdicts, reader) if blinded else changes.verdicts
    if len(verdicts) < len(changes.verdicts):
        show(filled('<p class="notes">{}</p>', BLINDED if reader else NOBODY))
    elif not verdicts:
        show(filled('<p class="notes">Nobody has said anything of these images yet.</p>'))
    if not verdicts:
        return
    found = _agreement(worklist, verdicts, (changes.last, reader, blinded))
    for label in sorted({one.label for one in found.counts}):
        show(filled('<h2 class="label">{}</h2>', label))
        show(_counts([one for one in found.counts if one.label == label]))
        show(_pairs([one for one in found.pairs if one.label == label]))
    show(
        filled(
            '<p class="notes">Each reader’s latest verdict on an image counts. “Agree” and “disagree” say whether the '
            "finding is there by what the model called; unsure, skipped and a grade other than 0 or 1 are in no kappa. "
            "Cohen’s kappa: 1 is perfect, 0 is chance. Intervals (95 %) resample patients, and there is none with "
            "fewer than five patients with, or without, the finding.</p>"
        )
    )


def _agreement(worklist: Worklist, verdicts: Sequence[Verdict], of: tuple[int, str, bool]) -> Agreement:
    """How far readers agree; computed once for a reader and a place in the store."""
    known: tuple[object, Agreement] | None = st.session_state.get("agreement")
    if known is not None and known[0] == of:
        return known[1]
    calls = {
        (case.verdict_key, label): int(case.positive[label]) for case in worklist.cases for label in worklist.labels
    }
    patients = {case.verdict_key: case.patient_key or f"image {case.verdict_key}" for case in worklist.cases}
    with st.spinner("Resampling patients …", show_time=False):
        found = agreement(verdicts, calls, patients)
    st.session_state["agreement"] = (of, found)
    return found


def _counts(counts: list[Counts]) -> Markup:
    shown = [kind for kind in KINDS if any(one.said.get(kind) for one in counts)]
    head = joined(filled('<th scope="col">{}</th>', KINDS[kind]) for kind in shown)
    rows = joined(
        filled(
            '<tr><th scope="row">{}</th><td>{}</td>{}</tr>',
            one.reader,
            one.images,
            joined(filled("<td>{}</td>", one.said.get(kind, 0)) for kind in shown),
        )
        for one in counts
    )
    return filled(
        '<table class="agreement"><caption>What they said</caption><thead><tr><th scope="col">Reader</th>'
        '<th scope="col">Images</th>{}</tr></thead><tbody>{}</tbody></table>',
        head,
        rows,
    )


def _pairs(pairs: list[Pair]) -> Markup:
    rows = joined(map(_pair, pairs))
    return filled(
        '<table class="agreement"><caption>How far two agree</caption><thead><tr><th scope="col">Pair</th>'
        '<th scope="col">Images</th><th scope="col">Both present</th><th scope="col">Only the first</th>'
        '<th scope="col">Only the second</th><th scope="col">Both absent</th><th scope="col">Same</th>'
        '<th scope="col">Kappa (95 % interval)</th></tr></thead><tbody>{}</tbody></table>',
        rows,
    )


def _pair(one: Pair) -> Markup:
    (neither, second), (first, both) = one.table
    kappa = estimate(one.kappa, without=NO_INTERVAL) if one.images else "–"
    why = one.kappa.method if one.kappa.low is None else ""
    same = f"{100 * one.alike / one.images:.0f} %" if one.images else "–"
    return filled(
        '<tr><th scope="row">{} and {}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>'
        '<td>{}<div class="notes">{}</div></td></tr>',
        one.first, one.second, one.images, both, first, second, neither, same, kappa, why,
    )  # fmt: skip
