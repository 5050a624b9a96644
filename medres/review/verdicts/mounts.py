"""On what kind of file system a folder lies: SQLite's locks do not hold on a network's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import psutil

_SHARES = frozenset(
    ("9p", "acfs", "afs", "afpfs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre",
     "ncpfs", "nfs", "nfs3", "nfs4", "ocfs2", "orangefs", "pvfs2", "smb2", "smb3", "smbfs", "webdav")
)  # fmt: skip
_SHARES_OF_FUSE = frozenset(
    ("cephfs", "curlftpfs", "davfs2", "gcsfuse", "glusterfs", "goofys", "gvfsd-fuse", "juicefs", "mount-s3", "rclone",
     "s3fs", "smbnetfs", "sshfs", "blobfuse", "blobfuse2")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the kernel's table of mounted file systems."""

    place: str  # where it is mounted
    kind: str  # as the kernel names it: ext4, nfs4, fuse.sshfs …


def mounted() -> tuple[Mount, ...]:
    """The kernel's table, in the order in which things were mounted."""
    return tuple(Mount(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True))


def share_below(folder: Path, table: Sequence[Mount]) -> Mount | None:
    """The network share that a folder lies on; None where it lies on a disk of this machine.

    Args:
        folder: without links.
        table: what is mounted; of two at one place the later one counts.

    >>> table = (Mount("/", "ext4"), Mount("/data", "nfs4"), Mount("/data/local", "xfs"))
    >>> share_below(Path("/data/scores"), table)
    Mount(place='/data', kind='nfs4')
    >>> share_below(Path("/data/local/scores"), table), share_below(Path("/database"), table)
    (None, None)
    """
    if str(folder).startswith("\\\\"):  # Windows names the server, and has no line for it
        return Mount(str(folder.anchor), "a share of Windows")
    found: Mount | None = None
    for mount in table:
        inside = folder.is_relative_to(PurePath(mount.place))
        if inside and (found is None or len(PurePath(mount.place).parts) >= len(PurePath(found.place).parts)):
            found = mount
    return found if found is not None and _is_share(found.kind) else None


def _is_share(kind: str) -> bool:
    name = kind.casefold()
    return name in _SHARES or name.removeprefix("fuse.") in _SHARES_OF_FUSE
