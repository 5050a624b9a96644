"""Where a review store may lie: on a disk of this machine, and never on a network share."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

from medres.errors import StoreError
from medres.review.verdicts.database import open_engine, sqlite_file
from medres.review.verdicts.mounts import Mount, mounted, share_below


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.glusterfs", "ceph", "9p", "NFS4"])
def test_a_folder_on_a_network_share_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    (tmp_path / "scores").mkdir()
    table = (Mount("/", "ext4"), Mount(str(tmp_path), kind))
    with pytest.raises(StoreError, match=f"network share .{kind}, mounted at") as refused:
        open_engine(make_url(f"sqlite:///{tmp_path.as_posix()}/scores/reviews.db"), mounts=table)
    assert refused.value.code == "STORE_ON_SHARE" and "--store" in str(refused.value)
    assert list((tmp_path / "scores").iterdir()) == []


def test_a_link_to_a_share_is_one(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far")
    table = (Mount("/", "ext4"), Mount(str(tmp_path / "far"), "nfs4"))
    with pytest.raises(StoreError, match="network share"):
        open_engine(make_url(f"sqlite:///{tmp_path.as_posix()}/near/reviews.db"), mounts=table)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "fuse.gocryptfs", "apfs"]
)
def test_a_disk_of_this_machine_is_none(kind: str) -> None:
    table = (Mount("/", "nfs4"), Mount("/data", kind))
    assert share_below(Path("/data/scores"), table) is None
    assert share_below(Path("/database"), table) == Mount("/", "nfs4")


def test_of_two_mounts_at_one_place_the_later_one_counts() -> None:
    first, second = Mount("/data", "ext4"), Mount("/data", "nfs")
    assert share_below(Path("/data"), (Mount("/", "ext4"), first, second)) == second
    assert share_below(Path("/data"), (Mount("/", "ext4"), second, first)) is None


def test_the_kernel_s_table_is_read(tmp_path: Path) -> None:
    places = [mount.place for mount in mounted()]
    assert any(tmp_path.is_relative_to(place) for place in places)


def test_only_a_file_s_url_names_a_file() -> None:
    assert sqlite_file(make_url("sqlite:////data/reviews.db")) == Path("/data/reviews.db")
    assert sqlite_file(make_url("postgresql+psycopg://db/reviews")) is None
