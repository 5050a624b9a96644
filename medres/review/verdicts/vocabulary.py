"""What a reader can say of an image beside agree, disagree and unsure, and how what was said is read back."""

from __future__ import annotations

from collections.abc import Mapping

from medres.review.verdicts.record import Verdict
from medres.review.wording import verdict_in_words

CONFIDENCES: Mapping[int, str] = {25: "Low", 50: "Medium", 75: "High"}
"""Per cent, as the store keeps how sure a reader is, of the three steps that the page offers."""

HELPFULNESS: Mapping[str, str] = {"helped": "Helped", "misled": "Misled", "neither": "Neither"}
"""What a heatmap did that was shown."""

OTHER_REASON = "another reason"
SKIP_REASONS = (
    "not readable", "wrong body part or view", "region cut off or hidden", "not my field", "I know this patient",
    OTHER_REASON,
)  # fmt: skip
"""Why a reader says nothing of an image; the last needs a comment."""


def confidence_in_words(confidence: int) -> str:
    """How sure a reader was, by thirds.

    >>> [confidence_in_words(one) for one in (0, 25, 50, 75, 100)]
    ['low', 'low', 'medium', 'high', 'high']
    """
    return "low" if confidence <= 33 else "medium" if confidence <= 66 else "high"


def said(verdict: Verdict) -> str:
    """A verdict in a word or two.

    >>> said(Verdict("1", "m", "l", "agree", "A")), said(Verdict("1", "m", "l", "own", "A", grade="3"))
    ('✓ Agree', 'Grade 3')
    >>> said(Verdict("1", "m", "l", "skipped", "A", skip_reason="not readable"))
    '– Skipped: not readable'
    """
    if verdict.verdict == "own":
        return f"Grade {verdict.grade}"
    if verdict.verdict == "skipped":
        return f"{verdict_in_words('skipped')}: {verdict.skip_reason}"
    return verdict_in_words(verdict.verdict)


def details(verdict: Verdict) -> str:
    """What else was said with a verdict, the comment apart; "" where it was nothing.

    >>> details(Verdict("1", "m", "l", "disagree", "A", confidence=75, corrected_label="fold", heatmap="misled"))
    'instead: fold · confidence high · heatmap misled'
    """
    marks = len(verdict.marks)
    parts = (
        verdict.corrected_label and f"instead: {verdict.corrected_label}",
        "" if verdict.confidence is None else f"confidence {confidence_in_words(verdict.confidence)}",
        verdict.heatmap and f"heatmap {verdict.heatmap}",
        marks and f"{marks} {'mark' if marks == 1 else 'marks'}",
    )
    return " · ".join(str(part) for part in parts if part)
