"""The same image twice: one rule for indexing and scoring (files that share a SOPInstanceUID)."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from hashlib import blake2b

_SHORT = 16  # bytes of a hash


@dataclass(frozen=True, slots=True)
class Repeat:
    """How a file relates to earlier files with the same SOPInstanceUID.

    The same bytes are one image (`identical_to` names the earlier file). Other pixels under the same identifier are a
    conflict that a human must look at; both are kept. The same pixels under another header (sent again, corrected) are
    neither.
    """

    identical_to: str | None = None
    conflict: bool = False


class Repeats:
    """Remembers the files of a run by SOPInstanceUID, and finds the same image among them.

    A million files take some 250 MB: UIDs and hashes are kept by 16 bytes of their BLAKE2b.
    """

    def __init__(self) -> None:
        self._last: dict[bytes, int] = {}  # by SOPInstanceUID: where its last file is in the lists below
        self._before = array("q")  # where the file before it is, of the same SOPInstanceUID; -1 where none is
        self._paths: list[str] = []
        self._hashes = bytearray()  # of the file and of its pixels, each as `short`

    def forget(self, sop_instance_uid: str) -> None:
        """Forget the files with a SOPInstanceUID: they are compared anew."""
        self._last.pop(short(sop_instance_uid), None)

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
        uid, file, pixels = short(sop_instance_uid), short(sha256), short(pixels_sha256)
        earlier = self._files_of(uid)
        same = next((seen for seen, its_file, _ in earlier if its_file == file and seen != path), None)
        if same is not None:
            return Repeat(identical_to=same)
        self._before.append(self._last.get(uid, -1))
        self._last[uid] = len(self._paths)
        self._paths.append(path)
        self._hashes += file + pixels
        unknown = not pixels_sha256 and any(its_file != file for _, its_file, _ in earlier)
        return Repeat(conflict=unknown or any(its_pixels != pixels for _, _, its_pixels in earlier))

    def _files_of(self, uid: bytes) -> list[tuple[str, bytes, bytes]]:
        """Path and hashes of the files with a SOPInstanceUID, as they were seen."""
        found = []
        place = self._last.get(uid, -1)
        while place >= 0:
            hashes = bytes(self._hashes[2 * _SHORT * place : 2 * _SHORT * (place + 1)])
            found.append((self._paths[place], hashes[:_SHORT], hashes[_SHORT:]))
            place = self._before[place]
        return found[::-1]


def short(text: str) -> bytes:
    """16 bytes by which a text is told from all others.

    >>> len(short("1.2.3")), short("1.2.3") == short("1.2.4")
    (16, False)
    """
    return blake2b(text.encode(errors="surrogateescape"), digest_size=_SHORT).digest()
