"""What is learnt about a model after it was made: one record a file, in `attachments/` of its folder.

Accuracy checks, licences of heatmaps, conformal sets and signatures lie here. They name the model and lie outside of
its identifier and of every hash of its card, so that a model stays the same model when more is known of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field, JsonValue, ValidationError

from medres.config.versions import Versioned
from medres.errors import ModelError, UsageError
from medres.files import make_folder
from medres.model.ensemble import joint_card
from medres.model.inspection import ATTACHMENTS, model_folders, read_card
from medres.model.saved_json import complaints, read_saved
from medres.provenance import now
from medres.tables import json_text, sha256_json, write_json

FORMAT = 2
_HASHES_ALL = 2  # the first format whose hash covers more than the content
_KIND = r"^[a-z][a-z0-9-]{0,39}$"


class Attachment(Versioned):
    """One thing that is known of a model."""

    format: int
    model_id: str
    kind: str = Field(pattern=_KIND)  # what it is, e.g. "accuracy-check"; says what `content` holds
    created: str  # ISO 8601, UTC
    content: dict[str, JsonValue]
    content_sha256: str  # of the canonical JSON of model_id, kind, created and content; in format 1 of the content


def attach(folder: Path, kind: str, content: Mapping[str, JsonValue]) -> Path:
    """Keep something with a model; returns the new file.

    The same content is kept once. Nothing that was attached before is changed.

    Args:
        folder: of a model, or of a cross-validation run, whose folds are a model together.
        kind: lower-case words with hyphens.
        content: JSON.

    Raises:
        UsageError: `folder` holds no model, or `kind` is not such a name.
        ModelError: a card is not valid, or another file of the same name is there.
    """
    if not re.fullmatch(_KIND, kind):
        raise UsageError(f"{kind!r} is no kind of attachment: give lower-case letters, digits and hyphens")
    model_id = joint_card(tuple(read_card(home) for home in model_folders(folder))).model_id
    digest = sha256_json(dict(content))
    path = folder / ATTACHMENTS / f"{kind}-{digest[:12]}.json"
    if path.exists():
        read_attachment(path, model_id)
        return path
    record = Attachment(
        format=FORMAT, model_id=model_id, kind=kind, created=now(), content=dict(content), content_sha256=""
    )
    make_folder(path.parent, private=False)
    whole = record.model_copy(update={"content_sha256": _sha256(record)})
    write_json(path, whole.model_dump(mode="json"), private=False)
    return path


def _sha256(record: Attachment) -> str:
    if record.format < _HASHES_ALL:
        return sha256_json(record.content)
    return sha256_json(record.model_dump(mode="json", include={"model_id", "kind", "created", "content"}))


def read_attachments(folder: Path, model_id: str) -> tuple[Attachment, ...]:
    """All that is attached to a model, oldest first.

    Args:
        folder: of the model or run.
        model_id: its identifier, as its verified card says.

    Raises:
        ModelError: names a file that is damaged, altered, of another model, or written by a newer medres.
    """
    found = [(read_attachment(path, model_id), path.name) for path in (folder / ATTACHMENTS).glob("*.json")]
    return tuple(record for record, _ in sorted(found, key=lambda pair: (pair[0].created, pair[1])))


def attachments_text(attachments: Sequence[Attachment]) -> str:
    """A section of the card in words: what is attached, and since when."""
    lines = [f"- {found.kind}, {found.created}" for found in attachments]
    return "\n".join(["## Attachments (added later, not part of the model's identifier)", "", *lines, ""])


def read_attachment(path: Path, model_id: str) -> Attachment:
    """One attachment, verified; arguments and errors are those of `read_attachments`."""
    written, content = read_saved(path, oldest=1, newest=FORMAT)
    try:
        record = Attachment.model_validate(content)
    except ValidationError as error:
        raise ModelError(f"{path} is damaged: {complaints(error)}; {_REMEDY}") from None
    if record.model_id != model_id:
        raise ModelError(f"{path} is about model {record.model_id}, and this is {model_id}; {_REMEDY}")
    same = written < _HASHES_ALL or path.read_bytes() == json_text(content).encode(errors="backslashreplace")
    if _sha256(record) != record.content_sha256 or not same:
        raise ModelError(f"{path} was altered: its content no longer has the SHA-256 it names; {_REMEDY}")
    return record


_REMEDY = "the model itself is sound: move the file out of the folder, or make it again"
