"""One label's map of one image as it is shown: in native pixels, on its scale, with what has to be said of it."""

from __future__ import annotations

from dataclasses import dataclass

from medres.formatting import apart
from medres.imaging.pictures import CONTOUR
from medres.model.heatmaps.figure import Legend, Words
from medres.model.heatmaps.library import Method, unit
from medres.model.heatmaps.licence import LabelLicence, in_words
from medres.records import LabelScore


@dataclass(frozen=True, slots=True)
class Drawing:
    """How maps are made and drawn."""

    method: Method = "cam"
    layer: str | None = None  # of a method of the grad-cam library; None: the last feature maps
    contour: float = CONTOUR  # part of full colour

    def named(self, stride: int) -> str:
        """The method in words.

        >>> Drawing().named(32), Drawing().named(16)
        ('Exact class-activation map (stride 32)', 'Finer class-activation map (stride 16)')
        >>> Drawing("gradcam", "backbone.layer3").named(16)
        'gradcam of backbone.layer3 (stride 16)'
        """
        if self.method != "cam":
            return f"{self.method} of {self.layer or 'the last feature maps'} (stride {stride})"
        return f"{'Exact' if stride == 32 else 'Finer'} class-activation map (stride {stride})"

    def legend(self, scale: float, strength: float) -> Legend:
        """How a map's colours are read.

        Args:
            scale: the model's, logit units.
            strength: of this map's strongest cell, which is full colour where the method has no unit.
        """
        if unit(self.method):
            return Legend(scale, unit(self.method), self.contour, strength)
        return Legend(strength if strength > 0 else 1.0, "", self.contour, strength)


def words_of(label: str, score: LabelScore, licence: LabelLicence, kept_back: str, made_by: str) -> Words:
    """What stands below a label's map.

    Args:
        label: which.
        score: its own.
        licence: what is known of its heatmaps.
        kept_back: why the map is shown on request only, see `licence.withheld`; "" where it is shown to everybody.
        made_by: method and model.
    """
    asked = (f"Shown on request: {kept_back}",) if kept_back else ()
    said = "" if licence.state == "failed" and kept_back else in_words(licence)
    return Words(f"{label}: {score_in_words(score)}", f"{said[:1].upper()}{said[1:]}", made_by, asked)


def score_in_words(score: LabelScore) -> str:
    """A label's score beside its operating point.

    >>> score_in_words(LabelScore(0.873, 0.42, True))
    'probability 0.873, at or above the operating point 0.420'
    """
    side = "at or above" if score.positive else "below"
    probability, threshold = apart(score.probability, score.threshold)
    return f"probability {probability}, {side} the operating point {threshold}"
