"""All that a model's folder says of itself: every file and what stands for it, and whose signatures lie in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medres.errors import ModelError
from medres.model.attachments import read_attachment
from medres.model.card import CARD_FILE, COVERS_ALL, ModelCard
from medres.model.ensemble import joint_card
from medres.model.inspection import (
    ATTACHMENTS,
    BAD,
    MEANING,
    FolderFile,
    complaint,
    inspect_folder,
    model_folders,
    read_card,
    shown,
)
from medres.model.signing import KIND, Signature, signatures, signing_is_there, verify_trust


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found in the folder of a model or of a cross-validation run."""

    files: tuple[FolderFile, ...]  # paths relative to it
    problems: tuple[str, ...]  # sentences for which the model is refused
    signatures: tuple[Signature, ...]
    notes: tuple[str, ...]  # sentences

    @property
    def uncovered(self) -> int:
        """How many files nothing stands for, where medres itself did not write them beside the model."""
        return sum(one.state == "not covered" for one in self.files)

    def lines(self) -> list[str]:
        """A list of all files in Markdown, then the signatures and notes."""
        found = ["## Files", ""]
        for one in self.files:
            detail = f" ({one.detail})" if one.detail else ""
            found.append(shown(f"- {one.path}: {MEANING[one.state]}{detail}"))
        found += ["", "## Signatures", ""]
        for each in self.signatures:
            known = "a key that you trust" if each.trusted else "whose key this is, only --trust can tell"
            found.append(f"- {each}: {known}")
        if not self.signatures:
            found.append("None: hashes prove that nothing was altered since the card was written, not who wrote it.")
        return [*found, *(f"- {note}" for note in self.notes), ""]


def audit_model(model: Path, trust: Sequence[Path] = ()) -> Audit:
    """Look at everything in a model's folder.

    Args:
        model: the folder of a model or of a cross-validation run.
        trust: public keys, one of which must have signed it.

    Raises:
        UsageError: no model; or a key cannot be read, or `cryptography` is not installed and `trust` needs it.
        ModelError: a card is damaged or altered: then no file of its folder can be judged.
    """
    homes = model_folders(model)
    cards = tuple(read_card(home) for home in homes)
    card = joint_card(cards)
    files, problems = [], []
    for home, own in zip(homes, cards, strict=True):
        above = home.relative_to(model)
        found = [*inspect_folder(home, own), *_attached(home, card if home == model else own)]
        problems += [_problem(home, one) for one in found if one.state in BAD]
        files += [replace(one, path=(above / one.path).as_posix()) for one in found]
    if model not in homes:
        found = list(_attached(model, card))
        problems += [_problem(model, one) for one in found if one.state in BAD]
        files += found
    signed = _signatures(model, trust, problems)
    names = {name for one in signed if one.trusted for name in one.statement.files} if not problems else set()
    files = [replace(one, state="signed") if one.state == "not covered" and one.path in names else one for one in files]
    return Audit(tuple(files), tuple(problems), signed, tuple(_notes(cards, files)))


def _attached(home: Path, card: ModelCard) -> Iterator[FolderFile]:
    """What lies in the folder of attachments."""
    folder = home / ATTACHMENTS
    if not folder.is_dir() or folder.is_symlink():  # a link is the model's folder's affair
        return
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(home).as_posix()
        if path.is_symlink():
            yield FolderFile(name, "unknown", "a link")
        elif path.parent == folder and path.suffix == ".json":
            try:
                found = read_attachment(path, card.model_id)
                yield FolderFile(name, "attachment", f"{found.kind}, {found.created}")
            except ModelError as error:
                yield FolderFile(name, "altered", str(error))
        elif not path.is_dir():
            yield FolderFile(name, "not covered", "no attachment that medres wrote")


def _problem(home: Path, one: FolderFile) -> str:
    return one.detail if one.state == "altered" and one.detail else complaint(home, one)


def _signatures(model: Path, trust: Sequence[Path], problems: list[str]) -> tuple[Signature, ...]:
    """The signatures; what is wrong with them, or with what they should cover, is a problem more."""
    written = any((model / ATTACHMENTS).glob(f"{KIND}-*.json"))
    if problems or not (trust or (written and signing_is_there())):
        return ()
    try:
        if trust:
            verify_trust(model, trust)
        return signatures(model, trust=trust)
    except ModelError as error:
        problems.append(str(error))
        return ()


def _notes(cards: Sequence[ModelCard], files: Sequence[FolderFile]) -> Iterator[str]:
    if any(card.format < COVERS_ALL for card in cards):
        yield (
            f"{CARD_FILE} is of format {min(card.format for card in cards)}, which covers the tensors alone: run its "
            "configurations (`monai.bundle run`) only if you made them, or if a key that you trust signed them"
        )
    if any(Path(one.path).name.startswith(f"{KIND}-") for one in files) and not signing_is_there():
        yield "it is signed, and nobody verified that: pip install 'medres[signing]'"
