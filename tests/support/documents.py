"""Typed records as the JSON values that are written."""

from __future__ import annotations

from typing import Any

from medres.documents import Document


def written(document: Document) -> dict[str, Any]:
    """What `write_document` writes of a record."""
    return document.model_dump(mode="json", exclude_unset=True)
