"""The same image twice: one rule for indexing and scoring (files that share a SOPInstanceUID)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Repeat:
    """How a file relates to earlier files with the same SOPInstanceUID.

    The same bytes are one image (`identical_to` names the earlier file). Other pixels under the same identifier are a
    conflict that a human must look at; both are kept. The same pixels under another header (sent again, corrected) are
    neither.
    """

    identical_to: str | None = None
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class _Seen:
    path: str
    sha256: str
    pixels_sha256: str


class Repeats:
    """Remembers the files of a run by SOPInstanceUID, and finds the same image among them."""

    def __init__(self) -> None:
        self._seen: dict[str, list[_Seen]] = {}

    def forget(self, sop_instance_uid: str) -> None:
        """Forget the files with a SOPInstanceUID: they are compared anew."""
        self._seen.pop(sop_instance_uid, None)

    def compare(self, path: str, *, sop_instance_uid: str, sha256: str, pixels_sha256: str) -> Repeat:
        """Compare a file with those before it, and remember it unless it is identical to one of them.

        Args:
            path: the file, as messages name it.
            sop_instance_uid: its SOPInstanceUID; a file without one repeats nothing.
            sha256: of the file.
            pixels_sha256: of the decoded pixels; "" where they were not all decoded: then nobody can tell that they are
                the same, and another file of the same SOPInstanceUID is a conflict.
        """
        if not sop_instance_uid:
            return Repeat()
        earlier = self._seen.setdefault(sop_instance_uid, [])
        same = next((item.path for item in earlier if item.sha256 == sha256 and item.path != path), None)
        if same is not None:
            return Repeat(identical_to=same)
        conflict = any(not pixels_sha256 or item.pixels_sha256 != pixels_sha256 for item in earlier)
        earlier.append(_Seen(path, sha256, pixels_sha256))
        return Repeat(conflict=conflict)
