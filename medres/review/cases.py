"""Scored folders as a worklist of cases; a case opens only if its file is still the one that was scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medres.errors import REASONS, Refused, UsageError
from medres.imaging.preprocessing import file_sha256
from medres.review.scored_folders import Rows, ScoredFolder, how_scored, read_folders
from medres.review.scoring_model import ScoringModel
from medres.review.stored import StoredEvidence
from medres.review.wording import meaning
from medres.scoring.record import read_scores_record
from medres.tables import named_path

_SCORED = ("ok", "review")


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
    study_instance_uid: str = ""
    study_date: str = ""  # YYYYMMDD; "" where it is absent, and in tables of earlier versions
    laterality: str = ""  # "L", "R", "B" or "U"; "" as for the date
    folder: int = 0  # the place of its scored folder among those of the list


@dataclass(frozen=True, slots=True)
class Unscored:
    """One file of a folder without a score of its own, or whose image another folder's row shows."""

    row: int  # of predictions.csv, whose column names are row 1; file names are not shown, they may name a patient
    status: Literal["refused", "duplicate", "gone"]
    reason: str  # in words
    folder: int = 0  # as of a Case


class Worklist:
    """The scored images of one folder or several, with the model that scored them.

    An image that several folders hold is listed once, as the first of them says.

    Args:
        scores: the output folder of `medres score`, or several, in order.
        model: the model that scored them.
    """

    def __init__(self, scores: Path | Sequence[Path], model: ScoringModel) -> None:
        self.model = model
        self.labels = model.labels
        read = read_folders([scores] if isinstance(scores, Path) else scores, model)
        self.folders = tuple(folder for folder, _ in read)
        self.cases, repeated = _cases(read, self.labels)
        self.unscored = (*_unscored(read), *repeated)
        self.evidence = StoredEvidence([folder.scores for folder in self.folders], self.labels)
        self._by_key = {case.key: case for case in reversed(self.cases)}
        patients: dict[str, list[Case]] = {}
        for case in self.cases:
            patients.setdefault(case.patient_key, []).append(case)
        self._by_patient = {patient: tuple(cases) for patient, cases in patients.items()}

    @classmethod
    def open(cls, scores: Path | Sequence[Path], model: Path) -> Worklist:
        """Read scored folders, and the cards of the model that scored them; its network is not loaded.

        Raises:
            UsageError: a folder is missing something, or another model scored it.
            ModelError: a card of the model is not what it was.
        """
        first = scores if isinstance(scores, Path) else scores[0]
        return cls(scores, ScoringModel.read(model, decode=how_scored(first)[1]))

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
        scored_by = read_scores_record(self.folders[case.folder].scores).model_id
        if scored_by != self.model.model_id:
            raise Refused("CHANGED", f"model {scored_by} has scored the folder since; start medres app again with it")
        path = self.locate(case)
        if file_sha256(path) != case.sha256:
            raise Refused("CHANGED", "the file has changed since it was scored; score the folder again")
        return path

    def absent(self) -> tuple[Case, ...]:
        """The cases whose file is not where it was, by one look at each."""
        return tuple(case for case in self.cases if not _is_file(self.folders[case.folder].root / case.path))

    def locate(self, case: Case) -> Path:
        """Where a case's file lies.

        Raises:
            Refused: OUTSIDE_ROOT, or UNREADABLE where it is gone, or may not be looked for.
        """
        root = self.folders[case.folder].root
        try:
            if not root.is_dir():
                raise Refused("UNREADABLE", "the folder that was scored is not there any more")
            path = (root / case.path).resolve()
            if not path.is_relative_to(root.resolve()):
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


def _cases(
    read: Sequence[tuple[ScoredFolder, Rows]], labels: Sequence[str]
) -> tuple[tuple[Case, ...], tuple[Unscored, ...]]:
    """The cases of all folders, and which rows are of images that an earlier folder holds."""
    first: dict[str, tuple[int, int]] = {}  # by SHA-256: the folder and the row that are listed
    listed: list[tuple[int, int, Mapping[str, str]]] = []
    repeated = []
    for place, (_, rows) in enumerate(read):
        for number, row in _scored(rows):
            folder, at = first.setdefault(row["sha256"], (place, number))
            if folder == place:
                listed.append((place, number, row))
            else:
                words = f"The same image as row {at} of {read[folder][0].name}, which is listed."
                repeated.append(Unscored(number, "duplicate", words, place))
    totals = Counter(row["PatientKey"] for _, _, row in listed)
    holders = Counter(row["SOPInstanceUID"] for _, _, row in listed)
    seen: Counter[str] = Counter()
    cases = []
    for place, number, row in listed:
        seen[row["PatientKey"]] += 1
        case = _case(row, number, labels)
        if row["PatientKey"]:
            case = replace(case, image=seen[row["PatientKey"]], images=totals[row["PatientKey"]])
        if holders[row["SOPInstanceUID"]] > 1:
            case = replace(case, verdict_key=row["sha256"])
            conflict = meaning(["DUPLICATE_CONFLICT"])
            if len(read) > 1 and not set(conflict) <= set(case.review):  # another folder's file says it is this image
                case = replace(case, status="review", review=(*conflict, *case.review))
        cases.append(replace(case, folder=place))
    return tuple(cases), tuple(repeated)


def _scored(rows: Rows) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The rows with a score, by their number in the table, whose column names are row 1."""
    return ((number, row) for number, row in enumerate(rows, start=2) if row["status"] in _SCORED)


def _case(row: Mapping[str, str], number: int, labels: Sequence[str]) -> Case:
    codes = row["warnings"].split()
    review = [row["reason"], *(code for code in codes if code in REASONS)]
    return Case(
        key=row["sha256"][:16],
        path=named_path(row["path"]),
        sha256=row["sha256"],
        sop_instance_uid=row["SOPInstanceUID"],
        verdict_key=row["SOPInstanceUID"],
        patient_key=row["PatientKey"],
        view_position=row["ViewPosition"],
        image=1,
        images=1,
        status="review" if row["status"] == "review" else "ok",
        review=meaning([code for code in review if code]),
        warnings=meaning([code for code in codes if code not in review]),
        probabilities={label: _probability(row[f"prob_{label}"], number) for label in labels},
        positive={label: row[f"positive_{label}"] == "1" for label in labels},
        decode=row.get("decode", ""),
        study_instance_uid=row.get("StudyInstanceUID", ""),
        study_date=row.get("StudyDate", ""),
        laterality=row.get("ImageLaterality", ""),
    )


def _probability(cell: str, row: int) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise UsageError(f"row {row} of predictions.csv holds {cell!r} where a probability belongs")
    return value


def _unscored(read: Sequence[tuple[ScoredFolder, Rows]]) -> Iterator[Unscored]:
    for place, (_, rows) in enumerate(read):
        scored = {row["sha256"]: number for number, row in _scored(rows)}
        for number, row in enumerate(rows, start=2):
            if row["status"] == "duplicate":
                twin = scored.get(row["sha256"])
                words = (
                    f"The same image as row {twin}, which is scored." if twin else " ".join(meaning([row["reason"]]))
                )
                yield Unscored(number, "duplicate", words, place)
            elif row["status"] == "gone":
                yield Unscored(number, "gone", "The file was scored, and is not in the folder any more.", place)
            elif row["status"] not in _SCORED:
                yield Unscored(number, "refused", " ".join(meaning([row["reason"]])), place)
