"""Whether a label's heatmaps may be shown: what a cross-validation has measured of them, and what follows from it.

The licence is an attachment of the model: it can be given, renewed and withdrawn without the model becoming another
one. It holds for one method and one stride; maps drawn otherwise have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from medres.config.versions import Versioned
from medres.errors import ModelError
from medres.model.attachments import attach, read_attachments
from medres.model.saved_json import complaints

KIND = "heatmap-licence"
"""The kind of attachment that a licence is."""

State = Literal["validated", "not validated", "failed"]


class LabelLicence(Versioned):
    """What is known of one label's heatmaps."""

    state: State
    reasons: tuple[str, ...]  # why, a sentence each; the first is the one to show where there is room for one
    figures: Mapping[str, float] = {}  # what was measured, by name


class HeatmapLicence(Versioned):
    """The content of an attachment: what is known of a model's heatmaps."""

    method: str = "cam"
    stride: int  # network input pixels between cells of the maps that were measured
    measured_on: str  # in words: which images, and that no network had seen them
    images: int
    labels: Mapping[str, LabelLicence]
    created: str  # ISO 8601, UTC


UNMEASURED = LabelLicence(
    state="not validated", reasons=("nobody has measured yet whether these heatmaps mean anything",)
)
"""Of a model without a licence."""


def attach_licence(folder: Path, licence: HeatmapLicence) -> Path:
    """Keep a licence with a model, or with a cross-validation run; errors are those of `attach`."""
    return attach(folder, KIND, licence.model_dump(mode="json"))


def read_licence(folder: Path, model_id: str) -> HeatmapLicence | None:
    """The newest licence of a model or run; None where there is none.

    Raises:
        ModelError: names an attachment that is damaged.
    """
    found = []
    for attachment in read_attachments(folder, model_id):
        if attachment.kind == KIND:
            try:
                found.append(HeatmapLicence.model_validate(attachment.content))
            except ValidationError as error:
                raise ModelError(f"a heatmap licence of {folder} is damaged: {complaints(error)}") from None
    return max(found, key=lambda licence: licence.created, default=None)


def licence_of(licence: HeatmapLicence | None, label: str, *, method: str = "cam", stride: int) -> LabelLicence:
    """What a licence says of a label's maps that are drawn in this way."""
    if licence is None or label not in licence.labels:
        return UNMEASURED
    given = licence.labels[label]
    if (licence.method, licence.stride) == (method, stride) or given.state == "failed":
        return given
    other = f"only {licence.method} at a stride of {licence.stride} was measured, not {method} at {stride}"
    return LabelLicence(state="not validated", reasons=(other,))


def withheld(licence: LabelLicence, *, positive: bool) -> str:
    """Why a map is not shown unless somebody asks for it all the same; "" where it is shown.

    >>> withheld(UNMEASURED, positive=True), withheld(UNMEASURED, positive=False)
    ('', 'below the operating point')
    """
    if licence.state == "failed":
        return f"heatmap failed: {licence.reasons[0]}"
    return "" if positive else "below the operating point"


def in_words(licence: LabelLicence) -> str:
    """The licence as a person reads it.

    >>> in_words(UNMEASURED)
    'heatmap not validated: nobody has measured yet whether these heatmaps mean anything'
    """
    return f"heatmap {licence.state}: {licence.reasons[0]}"
