"""What travels between the room's page and Python: each kind of message is a record here, and nowhere else.

To the page, over HTTP, go `ShownCase` (a case's words and scores), `ShownMap` (a heatmap) and `Check` (whether its
scores could be computed again). From the page comes one message: `SaidVerdict`, when a reviewer saves. `Kept` answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from medres.review.store import Opinion
from medres.review.verdicts.record import Helpfulness


class Sent(BaseModel):
    """A frozen record that knows no key that is not its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ShownMap(Sent):
    """A heatmap, with what is said of it."""

    title: str
    state: str  # "heatmap validated", …
    licence: str
    drawn: bool  # without being asked for
    note: str  # why it is not drawn, or that there is none
    full: str = ""  # the end of its colour scale
    strength: str = ""
    contoured: str = ""
    rows: int = 0  # of its cells; 0: there is no map
    columns: int = 0
    cells: str = ""  # Base64 of deflated uint8: 255 × min(value ÷ full colour, 1)
    lines: tuple[tuple[float, ...], ...] = ()  # of the contour: x, y, x, y, …, parts of width and height


class ShownMaps(Sent):
    """The heatmaps of one label: the networks' mean, and where several disagree."""

    mean: ShownMap
    spread: ShownMap | None = None


class ShownVerdict(Sent):
    """One verdict of the history."""

    said: str
    details: str  # what else was said with it, the comment apart
    reviewer: str
    when: str
    comment: str


class ShownLabel(Sent):
    """One label of a case."""

    probability: float
    positive: bool
    shown: str  # as a percentage
    side: str
    statement: str
    folds: tuple[str, ...]  # each network's own, as percentages; () of one network, or where they were not kept
    folds_said: str
    claim: str
    revision: int  # of the latest verdict; 0 without one
    history: tuple[ShownVerdict, ...]  # newest first
    hidden: str  # that others have said something which is not shown yet
    others_said: str  # where the verdicts below come from, which are another key's
    others: tuple[ShownVerdict, ...]


class ShownCase(Sent):
    """A case as the page shows it; with a `fault` there is no score and nothing to judge."""

    key: str
    heading: str
    fault: str = ""
    review: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    labels: Mapping[str, ShownLabel] = {}
    views: tuple[tuple[str, str], ...] = ()  # (key, in words) of the patient's other images
    draft: str = ""  # what the reader had begun to say, as the page sent it; "" where nothing is kept
    draft_version: str = ""


class Bounds(Sent):
    """A share with its interval."""

    value: float
    low: float | None
    high: float | None


class ShownPoint(Sent):
    """What is known of a label's operating point, whatever the case."""

    threshold: float
    shown: str
    chosen: str  # how, in a sentence
    sensitivity: Bounds | None
    specificity: Bounds | None
    measured: str  # on what both were measured, or why they are not known


class Check(Sent):
    """Whether the model gives a case's scores again."""

    state: Literal["waiting", "same", "refused", "unchecked"]
    text: str = ""  # of `refused`, why no score is shown; of `unchecked`, why it could not be computed
    maps: Mapping[str, ShownMaps] = {}  # as computed again, by label


class Again(Sent):
    """What the page is told every moment: of which cases a verdict was saved, and the score then not reproduced."""

    again: tuple[str, ...] = ()


Pixel = Annotated[FiniteFloat, Field(ge=0, le=2**20)]


class Point(Sent):
    """A place in the image, in native pixels from its upper left corner: the first pixel's centre is (0.5, 0.5)."""

    kind: Literal["point"]
    row: Pixel
    column: Pixel


class Box(Sent):
    """A box in the image, in native pixels as `Point`."""

    kind: Literal["box"]
    top: Pixel
    left: Pixel
    bottom: Pixel
    right: Pixel


class SaidVerdict(Sent):
    """One verdict as the page sends it, when a reviewer saves; it is sent again until `Kept` answers its `id`."""

    id: str = Field(max_length=64)  # drawn by the page
    key: str = Field(max_length=64)  # of the case
    label: str
    verdict: Opinion
    reviewer: str
    comment: str = ""
    grade: str = ""  # where the verdict is `own`
    skip_reason: str = ""  # where it is `skipped`
    corrected_label: str = ""
    confidence: int | None = Field(default=None, ge=0, le=100)  # per cent
    heatmap: Helpfulness = ""
    revision: int = Field(ge=0)  # of the latest verdict that the reviewer saw; 0 where there was none
    probability: FiniteFloat  # as it was shown
    checked: bool  # whether the model had given the score again by then
    seconds_in_view: FiniteFloat = Field(ge=0)  # that the case was seen, the page not hidden, since it was opened
    heatmap_shown: bool  # whether this label's heatmap was drawn at any time since
    marks: tuple[Annotated[Point | Box, Field(discriminator="kind")], ...] = Field(default=(), max_length=200)


class SaidDraft(Sent):
    """What a reader has begun to say of a case, as the page sends it a moment later, until it is answered."""

    id: str = Field(max_length=64)  # drawn by the page
    key: str = Field(max_length=64)  # of the case
    reviewer: str
    content: str  # JSON of the page's own, by label
    seen: str = Field(max_length=64)  # the version that the page knows to be kept; "" where it knows of none


class KeptDraft(Sent):
    """The answer to one `SaidDraft`."""

    id: str
    kept: bool
    said: str = ""  # why it is not
    other: str = ""  # what another page of the reader has begun instead, which this one did not know: JSON, by label
    version: str = ""  # of what is kept now


class Kept(Sent):
    """The answer to one `SaidVerdict`."""

    id: str
    saved: bool
    said: str
    label: ShownLabel | None = None  # as it is now
