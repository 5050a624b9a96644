"""The sentences and numbers that a clinician reads in the review app."""

from __future__ import annotations

from collections.abc import Sequence

from medres.errors import REASONS, WARNINGS

NOT_DIAGNOSTIC = "Not for diagnostic use"


def percentages(probability: float, threshold: float) -> tuple[str, str]:
    """Both as percentages, with as many digits as it takes to see which is larger. Never "0 %" or "100 %".

    >>> percentages(0.873, 0.42)
    ('87 %', '42 %')
    >>> percentages(0.4196, 0.4213)
    ('42.0 %', '42.1 %')
    >>> percentages(0.9999, 0.5)
    ('> 99 %', '50 %')
    """
    for digits in range(6):
        shown = _percentage(probability, digits), _percentage(threshold, digits)
        if shown[0] != shown[1] or probability == threshold:
            return shown
    return shown


def _percentage(value: float, digits: int) -> str:
    text = f"{100 * value:.{digits}f}"
    smallest = 10**-digits
    if float(text) <= 0:
        return f"< {smallest:.{digits}f} %"
    if float(text) >= 100:
        return f"> {100 - smallest:.{digits}f} %"
    return f"{text} %"


def side(positive: bool) -> str:
    """On which side of the operating point a score lies.

    >>> side(True)
    'at or above the operating point'
    """
    return "at or above the operating point" if positive else "below the operating point"


def statement(label: str, probability: float, threshold: float, *, positive: bool) -> str:
    """A label's score in one sentence.

    >>> statement("nodule", 0.87, 0.42, positive=True)
    'nodule: 87 %, above the operating point of 42 %.'
    """
    shown, point = percentages(probability, threshold)
    where = "above" if probability > threshold else "exactly at" if positive else "below"
    counts = ", which counts as above" if where == "exactly at" else ""
    return f"{label}: {shown}, {where} the operating point of {point}{counts}."


def chosen(rule: str) -> str:
    """How an operating point was chosen, in a sentence.

    >>> chosen("best Youden index on validation patients")
    'Chosen for the best Youden index on validation patients.'
    >>> chosen("mean of 3 folds' thresholds, each: sensitivity ≥ 0.9 on validation patients")
    "The mean of 3 folds' thresholds; each was chosen for sensitivity ≥ 0.9 on validation patients."
    >>> chosen("0.5: a class is missing in validation")
    '0.5: a class is missing in validation.'
    """
    mean, each, own = rule.rpartition(", each: ")
    if own.startswith("0.5:"):
        return f"{rule}."
    why = f"the {own}" if own.startswith("best") else own
    return f"The {mean}; each was chosen for {why}." if each else f"Chosen for {why}."


def networks(count: int) -> str:
    """What the networks' own probabilities are.

    >>> networks(3)
    'The 3 networks by themselves: their spread, not an interval.'
    """
    return f"The {count} networks by themselves: their spread, not an interval."


def claim(label: str, *, positive: bool) -> str:
    """What the model's call amounts to, as something to agree or disagree with.

    >>> claim("nodule", positive=False)
    'The model does not call “nodule” on this image.'
    """
    return f"The model {'calls' if positive else 'does not call'} “{label}” on this image."


def heatmap_strength(strength: float, scale: float, unit: str = "logit") -> str:
    """How strong a heatmap is, absolutely where its method has a unit.

    >>> heatmap_strength(3.0, 4.0)
    'strongest evidence 3.0 logits, 75 % of full colour'
    >>> heatmap_strength(0.0, 4.0)
    'no evidence for the label anywhere in this image'
    """
    if strength <= 0:
        return "no evidence for the label anywhere in this image"
    if not unit:
        return "the strongest cell, whatever it is worth"
    part = "full colour" if strength >= scale else f"{_percentage(strength / scale, 0)} of full colour"
    return f"strongest evidence {strength:.1f} logits, {part}"


def meaning(codes: Sequence[str]) -> tuple[str, ...]:
    """Reason and warning codes as sentences, in order and without repetition.

    >>> meaning(["LOSSY", "LOSSY"])
    ('The pixels were compressed with loss.',)
    """
    known = {**REASONS, **WARNINGS}
    sentences = (known.get(code, f"code {code}, which this version of medres does not know") for code in codes)
    return tuple(dict.fromkeys(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences))


OPINIONS = ("agree", "disagree", "unsure")
"""What a reviewer can say, in the order of the buttons."""


def verdict_in_words(opinion: str) -> str:
    """An opinion with its sign.

    >>> verdict_in_words("agree")
    '✓ Agree'
    """
    words = {
        "agree": "✓ Agree",
        "disagree": "✗ Disagree",
        "unsure": "? Unsure",
        "own": "Own grade",
        "skipped": "– Skipped",
    }
    return words[opinion]


def other_verdicts(*, shared: bool) -> str:
    """Where verdicts come from that are shown below an image's own: `shared`, as its SOPInstanceUID now is.

    >>> other_verdicts(shared=False)
    'Saved of this file while another scored image had the same SOPInstanceUID:'
    """
    if shared:
        return "Saved under the SOPInstanceUID that this image shares with another; which of them was meant is unknown:"
    return "Saved of this file while another scored image had the same SOPInstanceUID:"


def hidden_verdicts(count: int) -> str:
    """That others have said something, without what.

    >>> hidden_verdicts(1)
    '1 verdict of others is shown once yours is saved.'
    """
    return f"{count} {'verdict of others is' if count == 1 else 'verdicts of others are'} shown once yours is saved."


def call(*, positive: bool) -> str:
    """The model's call in a table's cell.

    >>> call(positive=True)
    'above'
    """
    return "above" if positive else "below"


def day(study_date: str) -> str:
    """A date of a header as a screen says it, in the one form that nobody reads otherwise; "" where it is none.

    >>> day("20261127"), day(""), day("2026")
    ('2026-11-27', '', '')
    """
    whole = len(study_date) == 8 and study_date.isdecimal() and study_date.isascii()
    return f"{study_date[:4]}-{study_date[4:6]}-{study_date[6:]}" if whole else ""


def laterality(code: str) -> str:
    """ImageLaterality in words; "" where it is not stated.

    >>> laterality("L"), laterality("U"), laterality("")
    ('left', 'unpaired', '')
    """
    return {"L": "left", "R": "right", "B": "both sides", "U": "unpaired"}.get(code, "")


def heatmap_scale(scale: float, unit: str = "logit") -> str:
    """The end of a heatmap's colour scale.

    >>> heatmap_scale(4.0), heatmap_scale(0.2, "")
    ('full colour: 4.0 logits, on every image', "full colour: no unit, this image's own scale")
    """
    if not unit:
        return "full colour: no unit, this image's own scale"
    return f"full colour: {scale:.1f} logits, on every image"


def heatmap_contour(scale: float, part: float, unit: str = "logit") -> str:
    """Where the contour lies.

    >>> heatmap_contour(4.0, 0.5), heatmap_contour(0.2, 0.5, "")
    ('contour: 2.0 logits', 'contour: 50 % of full colour')
    """
    return f"contour: {part * scale:.1f} logits" if unit else f"contour: {100 * part:.0f} % of full colour"


def heatmap_failed(label: str, reason: str) -> str:
    """Why there is no heatmap of a label at all.

    >>> heatmap_failed("nodule", "heatmap failed: it stays when the weights are random")
    'No heatmap of “nodule” is shown: heatmap failed: it stays when the weights are random.'
    """
    return f"No heatmap of “{label}” is shown: {reason.rstrip('.')}."


def heatmap_missing(label: str) -> str:
    """That a heatmap was not kept when the folder was scored.

    >>> heatmap_missing("nodule")
    'The folder of scores keeps no heatmap of “nodule”: it is being computed.'
    """
    return f"The folder of scores keeps no heatmap of “{label}”: it is being computed."


def heatmap_withheld(label: str, strength: float, scale: float, unit: str = "logit") -> str:
    """Why a heatmap is not drawn at first, and how strong it would be.

    >>> heatmap_withheld("nodule", 1.0, 4.0)
    '“nodule” is below its operating point, so no heatmap is drawn: strongest evidence 1.0 logits, 25 % of full colour.'
    """
    return f"“{label}” is below its operating point, so no heatmap is drawn: {heatmap_strength(strength, scale, unit)}."
