"""Labels in file names: whatever a label is called, its files can be written."""

from __future__ import annotations

import re
from collections.abc import Sequence


def slugs(labels: Sequence[str]) -> list[str]:
    """Labels as parts of file names, no two alike.

    >>> slugs(["Pleural Effusion", "pleural-effusion", "../<b>"])
    ['pleural-effusion', 'pleural-effusion-1', 'b']
    >>> slugs(["a-2", "a", "A"])
    ['a-2', 'a', 'a-2-2']
    """
    found: list[str] = []
    for place, label in enumerate(labels):
        slug = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:40] or "label"
        while slug in found:
            slug = f"{slug}-{place}"
        found.append(slug)
    return found
