"""A scored folder as a worklist of cases; a case opens only if its file is still the one that was scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from medres.errors import REASONS, Refused, UsageError
from medres.imaging.preprocessing import file_sha256
from medres.records import Decoding, Precision
from medres.review.scoring_model import ScoringModel
from medres.review.stored import StoredEvidence
from medres.review.wording import meaning
from medres.scoring.record import read_scores_record
from medres.scoring.rows import read_rows
from medres.tables import named_path

_SCORED = ("ok", "review")
_NEEDED_COLUMNS = (
    "path",
    "sha256",
    "status",
    "reason",
    "SOPInstanceUID",
    "PatientKey",
    "ViewPosition",
    "model_id",
    "warnings",
)


@dataclass(frozen=True, slots=True)
class Case:
    """One scored image. Nothing here names a patient; `path` may, and is never shown."""

    key: str  # names the case in an address: the start of the file's SHA-256
    path: str  # relative to the scored folder
    sha256: str
    sop_instance_uid: str
    verdict_key: str  # names it in the store: its SOPInstanceUID, or its file's SHA-256 where scored images share one
    patient_key: str  # pseudonym; "" where the file has no PatientID
    view_position: str  # as in the header; "" where absent
    image: int  # 1, 2, … of `images` scored images of this patient
    images: int
    status: Literal["ok", "review"]
    review: tuple[str, ...]  # why a human must look, in words
    warnings: tuple[str, ...]  # in words
    probabilities: Mapping[str, float]
    positive: Mapping[str, bool]
    decode: str = ""  # one of records.DECODED; "" in tables of earlier versions


@dataclass(frozen=True, slots=True)
class Unscored:
    """One file of the folder without a score of its own."""

    row: int  # of predictions.csv, whose column names are row 1; file names are not shown, they may name a patient
    status: Literal["refused", "duplicate", "gone"]
    reason: str  # in words


class Worklist:
    """The scored images of one folder, with the model that scored them.

    Args:
        scores: the output folder of `medres score`.
        model: the model that scored it.
    """

    def __init__(self, scores: Path, model: ScoringModel) -> None:
        self.scores = scores
        self.model = model
        self.labels = model.labels
        record = read_scores_record(scores)
        if record.input is None:
            raise UsageError(f"{scores / 'run.json'} does not name the folder that was scored")
        self.root = Path(record.input)
        self.created = record.created
        rows = read_rows(scores / "predictions.csv")
        columns: Collection[str] = rows[0].keys() if rows else needed_columns(self.labels)
        missing = [name for name in needed_columns(self.labels) if name not in columns]
        if record.model_id != model.model_id:
            raise UsageError(
                f"{scores} was scored by model {record.model_id}, and this is {model.model_id}; "
                "give the model that scored it"
            )
        if (record.decode or model.preprocessing.decode) != model.decode:
            raise UsageError(f"{scores} was scored decoding {record.decode}, and this model decodes {model.decode}")
        if missing:
            raise UsageError(f"{scores / 'predictions.csv'} lacks the columns {', '.join(missing)}")
        others = {row["model_id"] for row in rows} - {"", model.model_id}
        if others:
            raise UsageError(
                f"{scores / 'predictions.csv'} holds rows of model {', '.join(sorted(others))}, and run.json names "
                f"{model.model_id}: a run was ended while it wrote them; score the folder again with --resume"
            )
        self.cases = _cases(rows, self.labels)
        self.unscored = _unscored(rows)
        self.evidence = StoredEvidence(scores, self.labels)
        self._by_key = {case.key: case for case in reversed(self.cases)}
        patients: dict[str, list[Case]] = {}
        for case in self.cases:
            patients.setdefault(case.patient_key, []).append(case)
        self._by_patient = {patient: tuple(cases) for patient, cases in patients.items()}

    @classmethod
    def open(cls, scores: Path, model: Path) -> Worklist:
        """Read a scored folder, and the cards of the model that scored it; its network is not loaded.

        Raises:
            UsageError: a folder is missing something, or another model scored it.
            ModelError: a card of the model is not what it was.
        """
        return cls(scores, ScoringModel.read(model, decode=how_scored(scores)[1]))

    def sorted_by(self, label: str) -> tuple[Case, ...]:
        """The cases, highest probability of `label` first; equal ones in the order of the table."""
        return tuple(sorted(self.cases, key=lambda case: -case.probabilities[label]))

    def find(self, key: str) -> Case | None:
        """The case with this key."""
        return self._by_key.get(key)

    def of_patient(self, case: Case) -> tuple[Case, ...]:
        """All cases of a case's patient, in the order of the table; only itself where the patient is not known."""
        return self._by_patient.get(case.patient_key, (case,)) if case.patient_key else (case,)

    def threshold(self, label: str) -> float:
        """The operating point of a label, a calibrated probability."""
        return self.model.card.operating_points[label].threshold

    def rule(self, label: str) -> str:
        """How the operating point of a label was chosen."""
        return self.model.card.operating_points[label].rule

    def unchanged(self, case: Case) -> Path:
        """Where a case's file lies, which is still the one that was scored.

        Raises:
            Refused: as `locate`, or CHANGED; also where another model has scored the folder since it was opened.
            UsageError: the folder does not say any more who scored it.
        """
        scored_by = read_scores_record(self.scores).model_id
        if scored_by != self.model.model_id:
            raise Refused("CHANGED", f"model {scored_by} has scored the folder since; start medres app again with it")
        path = self.locate(case)
        if file_sha256(path) != case.sha256:
            raise Refused("CHANGED", "the file has changed since it was scored; score the folder again")
        return path

    def absent(self) -> tuple[Case, ...]:
        """The cases whose file is not where it was, by one look at each."""
        return tuple(case for case in self.cases if not _is_file(self.root / case.path))

    def locate(self, case: Case) -> Path:
        """Where a case's file lies.

        Raises:
            Refused: OUTSIDE_ROOT, or UNREADABLE where it is gone, or may not be looked for.
        """
        try:
            if not self.root.is_dir():
                raise Refused("UNREADABLE", "the folder that was scored is not there any more")
            path = (self.root / case.path).resolve()
            if not path.is_relative_to(self.root.resolve()):
                raise Refused("OUTSIDE_ROOT", "the table of scores names a file outside of the folder that was scored")
            if not path.is_file():
                raise Refused("UNREADABLE", "the file is not there any more")
        except OSError as error:
            raise Refused("UNREADABLE", error.strerror or type(error).__name__) from None
        except RuntimeError:  # what `resolve` says of links in a circle
            raise Refused("UNREADABLE", "links lead in a circle instead of to the file") from None
        return path


def _is_file(path: Path) -> bool:
    """Whether a file can be seen: not where nobody may look, or where links lead in a circle."""
    try:
        return path.is_file()
    except OSError:
        return False


def needed_columns(labels: Sequence[str]) -> list[str]:
    """The columns of `predictions.csv` that a worklist needs."""
    return [*_NEEDED_COLUMNS, *(f"{part}_{label}" for label in labels for part in ("prob", "positive"))]


def how_scored(scores: Path) -> tuple[Precision, Decoding | None]:
    """In which precision a folder was scored, and how its files were decoded.

    Folders of earlier versions say neither: float32, and as the model was trained.
    """
    record = read_scores_record(scores)
    precision = record.forward.precision if record.forward else "float32"
    if precision not in get_args(Precision) or record.decode not in {*get_args(Decoding), None}:
        raise UsageError(f"{scores} was scored in a way that this version does not know: {precision}, {record.decode}")
    return cast("Precision", precision), cast("Decoding | None", record.decode)


def _cases(rows: Sequence[Mapping[str, str]], labels: Sequence[str]) -> tuple[Case, ...]:
    totals = Counter(row["PatientKey"] for row in rows if row["status"] in _SCORED)
    holders = Counter(row["SOPInstanceUID"] for row in rows if row["status"] in _SCORED)
    seen: Counter[str] = Counter()
    cases = []
    for number, row in enumerate(rows, start=2):
        if row["status"] not in _SCORED:
            continue
        patient = row["PatientKey"]
        seen[patient] += 1
        codes = row["warnings"].split()
        review = [row["reason"], *(code for code in codes if code in REASONS)]
        cases.append(
            Case(
                key=row["sha256"][:16],
                path=named_path(row["path"]),
                sha256=row["sha256"],
                sop_instance_uid=row["SOPInstanceUID"],
                verdict_key=row["SOPInstanceUID"] if holders[row["SOPInstanceUID"]] == 1 else row["sha256"],
                patient_key=patient,
                view_position=row["ViewPosition"],
                image=seen[patient] if patient else 1,
                images=totals[patient] if patient else 1,
                status="review" if row["status"] == "review" else "ok",
                review=meaning([code for code in review if code]),
                warnings=meaning([code for code in codes if code not in review]),
                probabilities={label: _probability(row[f"prob_{label}"], number) for label in labels},
                positive={label: row[f"positive_{label}"] == "1" for label in labels},
                decode=row.get("decode", ""),
            )
        )
    return tuple(cases)


def _probability(cell: str, row: int) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise UsageError(f"row {row} of predictions.csv holds {cell!r} where a probability belongs")
    return value


def _unscored(rows: Sequence[Mapping[str, str]]) -> tuple[Unscored, ...]:
    scored = {row["sha256"]: number for number, row in enumerate(rows, start=2) if row["status"] in _SCORED}
    found = []
    for number, row in enumerate(rows, start=2):
        if row["status"] == "duplicate":
            twin = scored.get(row["sha256"])
            words = f"The same image as row {twin}, which is scored." if twin else " ".join(meaning([row["reason"]]))
            found.append(Unscored(number, "duplicate", words))
        elif row["status"] == "gone":
            found.append(Unscored(number, "gone", "The file was scored, and is not in the folder any more."))
        elif row["status"] not in _SCORED:
            found.append(Unscored(number, "refused", " ".join(meaning([row["reason"]]))))
    return tuple(found)
