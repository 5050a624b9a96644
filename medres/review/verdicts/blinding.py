"""Whose word a reader may see: another's only once there is one of their own. Every page and table asks here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medres.review.schema import reader_of
from medres.review.verdicts.record import Verdict


def is_of(reader: str, verdict: Verdict) -> bool:
    """Whether a verdict is a reader's, however their name is typed; nobody, "", has none."""
    return bool(reader) and reader_of(verdict.reviewer) == reader_of(reader)


def has_judged(own: Sequence[Verdict]) -> bool:
    """Whether a reader's verdicts on one label of one image, oldest first, end with a word on it.

    Who skipped an image has looked at it and said nothing of it: others' verdicts stay hidden from them.
    """
    return bool(own) and own[-1].verdict != "skipped"


def visible(verdicts: Iterable[Verdict], reader: str) -> tuple[Verdict, ...]:
    """Those verdicts of many images, oldest first, that a blinded reader may see, in the order given."""
    said = tuple(verdicts)
    own: dict[tuple[str, str, str], list[Verdict]] = {}
    for one in said:
        if is_of(reader, one):
            own.setdefault(_place(one), []).append(one)
    return tuple(one for one in said if is_of(reader, one) or has_judged(own.get(_place(one), ())))


def _place(verdict: Verdict) -> tuple[str, str, str]:
    return (verdict.sop_instance_uid, verdict.model_id, verdict.label)
