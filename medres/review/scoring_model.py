"""The model that scored a folder as its files tell of it: its card and licence, without its network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medres.config import Gate, Preprocessing
from medres.model.card import ModelCard
from medres.model.ensemble import joint_card
from medres.model.heatmaps.grid import SHOWN, Stride, scale_at
from medres.model.heatmaps.licence import HeatmapLicence, LabelLicence, licence_of, read_licence
from medres.model.inspection import model_folders, read_card
from medres.records import Decoding


@dataclass(frozen=True, slots=True)
class ScoringModel:
    """What can be known of a model in a moment; whether it still computes what it did is for `recomputing` to find."""

    card: ModelCard
    heatmap_licence: HeatmapLicence | None
    decode: Decoding  # how its images were decoded

    @classmethod
    def read(cls, folder: Path, *, decode: Decoding | None = None) -> ScoringModel:
        """Read and verify the cards of a model, or of the folds of a cross-validation run.

        Args:
            folder: of the model or run.
            decode: how images were decoded; as it was trained without.

        Raises:
            UsageError: the folder holds no model.
            ModelError: a card or licence is damaged, altered, or of a newer medres.
        """
        card = joint_card(tuple(read_card(one) for one in model_folders(folder)))
        return cls(card, read_licence(folder, card.model_id), decode or card.preprocessing.decode)

    @property
    def model_id(self) -> str:
        """The identifier that every score carries."""
        return self.card.model_id

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the network's order."""
        return self.card.labels

    @property
    def preprocessing(self) -> Preprocessing:
        """How a radiograph becomes this model's input."""
        return self.card.preprocessing

    @property
    def gate(self) -> Gate:
        """Which radiographs this model accepts."""
        return self.card.gate

    def heatmap_scale(self, label: str, *, stride: int = SHOWN) -> float:
        """As `Classifier.heatmap_scale`."""
        return scale_at(self.card.heatmap_scale[label], stride)

    def licence(self, label: str, *, stride: Stride = SHOWN) -> LabelLicence:
        """As `Classifier.licence`."""
        return licence_of(self.heatmap_licence, label, stride=stride)
