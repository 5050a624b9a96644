"""A model's folder without its network: its card, and every file's state: covered, written beside it, or foreign."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from medres.config.versions import OLDEST_FORMAT, SavedAs
from medres.errors import ModelError, UsageError
from medres.imaging.preprocessing import specification_hash
from medres.model.card import CARD_FILE, COVERS_ALL, FORMAT, OUTLIERS_FILE, WEIGHTS_FILE, ModelCard, identify
from medres.model.saved_json import complaints, read_saved
from medres.safe_text import UNSAFE
from medres.tables import json_text, sha256_file

ATTACHMENTS = "attachments"
"""The folder of what is learnt later; what lies there is judged by `attachments` and `signing`."""

HELD_OUT = "docs/held-out.md"
"""What a fold's held-out patients said of its model: written beside it once the whole run was judged."""

_BESIDE = (
    "run.json", "splits.json", "refused.csv", "fold.json", "history.jsonl", "history.csv", "mlflow-run.txt", HELD_OUT,
    "unfinished.json", ".lock", ".lock.holder",
    "checkpoints/checkpoint.pt", "checkpoints/checkpoint.previous.pt", "checkpoints/checkpoint.damaged.pt",
    "checkpoints/checkpoint.partial",
)  # fmt: skip
"""What `medres train` and `medres crossval` leave in a model's folder: no hash covers it, and nothing executes it."""

_EVENTS = re.compile(r"tensorboard/events\.out\.tfevents\.[\w.-]+")  # of training.tracking.tensorboard

State = Literal["covered", "beside", "attachment", "signed", "not covered", "altered", "missing", "unknown"]

MEANING: dict[State, str] = {
    "covered": "whole: as the card says",
    "beside": "written by medres beside the model; nothing covers it",
    "attachment": "attached later, whole",
    "signed": "its card does not cover it; a key that you trust signed it",
    "not covered": "nothing covers it",
    "altered": "altered or damaged",
    "missing": "missing",
    "unknown": "not the model's",
}
"""Every state in words."""

BAD: tuple[State, ...] = ("altered", "missing", "unknown")
"""States of files with which a model is refused."""


@dataclass(frozen=True, slots=True)
class FolderFile:
    """One file of a model's folder."""

    path: str  # relative to the folder, with /
    state: State
    detail: str = ""  # what is wrong with it


def model_folders(path: Path) -> tuple[Path, ...]:
    """The folder of a model, or those of the folds of a cross-validation run, which are used as an ensemble.

    Raises:
        UsageError: `path` holds neither.
    """
    if (path / CARD_FILE).is_file():
        return (path,)
    folders = tuple(found.parent for found in sorted((path / "models").glob(f"fold-*/{CARD_FILE}")))
    if not folders:
        raise UsageError(f"{path} holds no model (no {CARD_FILE}) and no cross-validation run (no models/fold-*)")
    return folders


def read_card(folder: Path) -> ModelCard:
    """Read and verify a model's card; of an earlier format, fields that came later say what held before.

    Raises:
        UsageError: the folder holds no card.
        ModelError: the card is damaged, altered, of a format this version does not know, or holds fields that its
            format does not have.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise UsageError(f"{folder} holds no model (no {CARD_FILE})")
    written, content = read_saved(path, oldest=OLDEST_FORMAT, newest=FORMAT)
    if not isinstance(content.get("model_id"), str) or not isinstance(content.get("architecture"), str):
        raise ModelError(f"{path} is damaged: it holds no model_id and architecture")
    if identify(content) != content["model_id"]:
        raise ModelError(f"{path} was altered: its content no longer gives model_id {content['model_id']}")
    if written >= COVERS_ALL and path.read_bytes() != json_text(content).encode(errors="backslashreplace"):
        raise ModelError(f"{path} was altered: it says what it said, and in other bytes")
    try:
        card = ModelCard.model_validate(content, context=SavedAs(written))
    except ValidationError as error:
        raise ModelError(
            f"{path} is as it was written, but not a card of format {written}: {complaints(error)}"
        ) from None
    if specification_hash(card.preprocessing) != card.preprocessing_sha256:
        raise ModelError(
            f"{path}: this version of medres preprocesses images differently than the one that trained the model"
        )
    return card


def inspect_folder(folder: Path, card: ModelCard) -> tuple[FolderFile, ...]:
    """Every file of a model's folder, by name.

    Args:
        folder: of one model.
        card: its own, as `read_card` verified it.
    """
    hashes = {**card.files, WEIGHTS_FILE: card.weights_sha256, OUTLIERS_FILE: card.outliers.sha256}
    found = {name: _judged(folder, name, kind, hashes) for name, kind in _walk(folder, "")}
    for name in {CARD_FILE, *hashes} - found.keys():
        found[name] = FolderFile(name, "missing", "a folder lies in its place" if (folder / name).is_dir() else "")
    if card.format < COVERS_ALL:
        found |= {name: replace(one, state="not covered") for name, one in found.items() if one.state == "unknown"}
        for name in {CARD_FILE, *hashes}:  # links to them were never refused; what is no file would be waited for
            if (folder / name).is_file():
                found[name] = _judged(folder, name, "file", hashes)
            elif found[name].state != "missing":
                found[name] = FolderFile(name, "missing", "what lies in its place is no file")
    return tuple(found[name] for name in sorted(found))


def verify_folder(folder: Path, card: ModelCard) -> None:
    """Make sure that a model's folder holds what its card says, and nothing that is not the model's.

    A card of a format before 5 covers the tensors alone; whatever else lies in its folder is let be.

    Raises:
        ModelError: names the first file that is missing, altered, or not the model's.
    """
    for one in inspect_folder(folder, card):
        if one.state in BAD:
            raise ModelError(complaint(folder, one))


def complaint(folder: Path, file: FolderFile) -> str:
    """What is wrong with a file, in one sentence."""
    path = f"{folder}/{shown(file.path)}"
    if file.state == "missing":
        return f"{path} is missing" + (f": {file.detail}" if file.detail else "")
    if file.state == "altered":
        return f"{path} was altered or damaged: its SHA-256 is not the one in {CARD_FILE}"
    return f"{path} is not the model's ({file.detail}): move it away, or into {ATTACHMENTS}/ if you trust it"


def shown(name: str) -> str:
    r"""A name as it can be shown: whoever wrote the folder chose it, and no terminal should obey it.

    >>> shown("configs/\x1b[2J.json")
    'configs/�[2J.json'
    """
    return UNSAFE.sub("�", name)


def uncovered(folder: Path, card: ModelCard) -> Iterator[str]:
    """Files of a model's folder that its card does not cover, and that only a signature can."""
    yield from (one.path for one in inspect_folder(folder, card) if one.state == "not covered")


_Kind = Literal["file", "folder", "link", "special"]
_FOLDERS = {"models", "configs", "docs", "checkpoints", "tensorboard"}  # may be empty


def _walk(folder: Path, above: str) -> Iterator[tuple[str, _Kind]]:
    """All files, links and empty folders below a folder; links are not followed, attachments left to others."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = f"{above}{entry.name}"
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                yield name, "link"
            elif not stat.S_ISDIR(mode):
                yield name, "file" if stat.S_ISREG(mode) else "special"
            elif name != ATTACHMENTS:
                below = list(_walk(Path(entry.path), f"{name}/"))
                yield from below or ([] if name in _FOLDERS else [(name, "folder")])


def _judged(folder: Path, name: str, kind: _Kind, hashes: Mapping[str, str]) -> FolderFile:
    if kind != "file":
        detail = {"link": "a link", "folder": "an empty folder", "special": "no regular file"}[kind]
        return FolderFile(name, "unknown", detail)
    if name == CARD_FILE:
        return FolderFile(name, "covered")
    if name in hashes:
        return FolderFile(name, "covered" if sha256_file(folder / name) == hashes[name] else "altered")
    if name in _BESIDE or _EVENTS.fullmatch(name):
        return FolderFile(name, "beside")
    return FolderFile(name, "unknown", "its card names no such file")
