"""What a run says of itself: `run.json` as typed records, with one writer and one reader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ValidationError, model_validator

from medres.cohort.splits import SplitFile, SplitsParent
from medres.cohort.tasks import Task
from medres.config import Evaluation
from medres.documents import Document, fault, read_document, write_document
from medres.errors import UsageError
from medres.evaluation.results import RecalibrationRecord, ShiftRecord
from medres.model.calibration import Rule
from medres.tables import MARKER

EXTERNAL: Final = "external validation"
COMPARISON: Final = "comparison"
DEPTH: Final = "depth study"
FOLD = "fold.json"
"""What a finished fold of a cross-validation says of itself, beside its model."""

RANDOM_START = "none: a random start, no pretraining"
"""What `weights` says of a network that started without pretraining."""


class ManifestRecord(Document):
    """The table of images that a run is about."""

    name: str
    sha256: str
    rows: int
    patients: int


class SplitsRecord(Document):
    """How the patients were divided."""

    sha256: str
    method: str = ""
    parent: SplitsParent | None = None
    folds: int = 0

    @classmethod
    def of(cls, document: SplitFile) -> SplitsRecord:
        """What `run.json` keeps of a split file."""
        record = cls(sha256=document.sha256, method=document.method, folds=len(document.folds))
        return record.model_copy(update={"parent": document.parent}) if document.parent else record


class FlowRecord(Document):
    """Where images went: `rows` of the manifest are the `used` ones and those of `refused`."""

    rows: int
    used: int
    refused: Mapping[str, int] = {}  # by reason code, or by what else became of them


class NetworkRecord(Document):
    """The network of a run."""

    architecture: str
    weights: str  # where it started, in words
    weights_sha256: str | None = None  # of the file; None where it started from random weights
    input: str = ""
    parameters: int | None = None

    @property
    def random_start(self) -> bool:
        """Whether it started without pretraining."""
        return self.weights_sha256 is None


class FoldsAtOnce(Document):
    """How many folds were fitted side by side, and what a trial said of it."""

    count: int
    images_per_second: Mapping[str, float] = {}


class FoldRecord(Document):
    """One fold: its part of the patients, its fit, and what its validation patients chose."""

    fold: int
    name: str = ""  # what the manifest calls it, where a column gives the folds
    model_id: str = ""
    training_patients: int | None = None
    validation_patients: int | None = None
    held_out_patients: int | None = None
    training_images: int | None = None
    validation_images: int | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    temperature: Mapping[str, float] = {}  # by label
    threshold: Mapping[str, float] = {}  # by label: of the rule that decides
    thresholds: Mapping[str, Mapping[Rule, float]] = {}  # by label, then by rule
    seconds: float | None = None
    held_out_images: int | None = None


class FrozenRecord(Document):
    """What an external validation took over from the model."""

    thresholds: Mapping[str, float]  # by label: of the rule that decides
    rules: Mapping[str, str] = {}  # by label: how that rule chose it, in words
    thresholds_by_rule: Mapping[str, Mapping[Rule, float]] = {}
    temperatures: tuple[Mapping[str, float], ...] = ()  # of each network, by label
    outlier_cuts: tuple[float, ...] = ()  # of each network


class OverlapRecord(Document):
    """What an external cohort shares with the training cohort; None: it could not be known."""

    same_manifest: bool
    patients: int | None
    images: int | None
    pixels: int | None
    example: str = ""
    found: bool
    detail: str


class RunRecord(Document):
    """The content of `run.json` of a training, a cross-validation, an evaluation, a comparison or a depth study.

    What a run of one kind does not have is not written. Runs of earlier versions may lack more: what is None or empty
    is not recorded.
    """

    kind: Literal["external validation", "comparison", "depth study"] | None = None  # not written by train and crossval
    medres: str = ""
    created: str = ""
    command: str = ""
    labels: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ()
    recipe: str = ""
    model_id: str = ""  # of train, and of the model that an external validation judges
    members: int = 1  # networks of that model
    frozen: FrozenRecord | None = None
    config: Mapping[str, Any] = {}  # as it was written: that of an earlier version may lack or hold other fields
    seed: int | None = None
    manifest: ManifestRecord | None = None
    splits: SplitsRecord | None = None
    flow: FlowRecord | None = None
    leaks: Mapping[str, int | None] = {}  # by kind of suspicion; None: not looked for
    network: NetworkRecord | None = None
    device: str = ""
    seconds: float | None = None
    environment: Mapping[str, str] = {}  # versions by name
    git_commit: str | None = None
    folds_at_once: FoldsAtOnce | None = None
    overlap: OverlapRecord | None = None
    shift: ShiftRecord | None = None
    recalibration: Mapping[str, RecalibrationRecord] = {}  # by label
    folds: tuple[FoldRecord, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_is_not_recorded(cls, content: Any) -> Any:
        """Parts that stand there as null or {} are as if absent; a fold without a number has that of its place."""
        if not isinstance(content, dict):
            return content
        optional = {name for name, field in cls.model_fields.items() if field.default is None}
        found = {
            name: value
            for name, value in content.items()
            if not (value is None and name not in optional) and not (value == {} and name in optional)
        }
        if isinstance(folds := found.get("folds"), list):
            found["folds"] = [
                {"fold": place, **fold} if isinstance(fold, dict) else fold for place, fold in enumerate(folds)
            ]
        return found

    @property
    def external(self) -> bool:
        """Whether a saved model was judged on another cohort."""
        return self.kind == EXTERNAL

    @property
    def evaluation(self) -> Evaluation | None:
        """The settings of the evaluation; None where they are not recorded.

        Raises:
            UsageError: they are not those of an evaluation.
        """
        if (recorded := self.config.get("evaluation")) is None:
            return None
        try:
            return Evaluation.model_validate(recorded)
        except ValidationError as error:
            raise UsageError(f"{MARKER}: config.evaluation: {fault(error)}") from None

    def thresholds(self, label: str) -> list[float]:
        """The thresholds that decide: one of each fold, or that of a saved model."""
        sources = [*(fold.threshold for fold in self.folds), self.frozen.thresholds if self.frozen else {}]
        return [source[label] for source in sources if label in source]

    def thresholds_by_rule(self, label: str) -> dict[Rule, list[float]]:
        """The thresholds of every rule: one of each fold, or that of a saved model."""
        sources = [*(fold.thresholds for fold in self.folds), self.frozen.thresholds_by_rule if self.frozen else {}]
        found: dict[Rule, list[float]] = {}
        for source in sources:
            for rule, value in source.get(label, {}).items():
                found.setdefault(rule, []).append(value)
        return found


def write_fold_record(home: Path, record: FoldRecord) -> None:
    """Write `fold.json` into the folder of a fold's model: the fold is finished."""
    write_document(home / FOLD, record)


def read_fold_record(home: Path) -> FoldRecord:
    """Read `fold.json` of a finished fold.

    Raises:
        UsageError: it is missing, damaged, or of a newer version.
    """
    return read_document(home / FOLD, FoldRecord)


def write_run_record(folder: Path, record: RunRecord) -> None:
    """Write `run.json` of a run."""
    write_document(folder / MARKER, record)


def read_run_record(folder: Path) -> RunRecord:
    """Read `run.json` of a run.

    Raises:
        UsageError: it is missing, damaged, or of a newer version.
    """
    return read_document(folder / MARKER, RunRecord)
