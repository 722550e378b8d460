"""A walk stays inside what it was given: mounts, folders that move, folders that may not be listed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePath

import pytest

from modules.core.scheduler.cleanup.config import InvalidCleanup
from modules.core.scheduler.cleanup.walk import MountReader, Walk, mount_of, opened_folder, regular_files
from tests.unit.cleanup.test_files import clean, put, spent_after

NOBODY = 65534


def mounted_at(*folders: Path) -> MountReader:
    """A reader of mount ids that sees another mount in these folders and below them."""

    def read(descriptor: int) -> int | None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        return 2 if any(path.is_relative_to(folder) for folder in folders) else 1

    return read


def test_the_mount_of_a_folder_is_known_here() -> None:
    """On Linux it is; elsewhere None, and the device of the file system decides."""
    descriptor = os.open("/", os.O_RDONLY)
    try:
        assert (mount_of(descriptor) is not None) == Path("/proc/self/fdinfo").exists()
    finally:
        os.close(descriptor)
    assert mount_of(descriptor) is None, "no such descriptor, as where /proc is missing"


def test_a_bind_mount_inside_is_left_alone_and_told(tmp_path: Path) -> None:
    """st_dev is the same; only the mount's id differs."""
    inside, beside = put(tmp_path / "a" / "mounted" / "deep" / "file"), put(tmp_path / "a" / "file")
    report = clean(tmp_path, mount_of=mounted_at(tmp_path / "a" / "mounted"))
    assert (report.matched, report.errors) == (1, ["a/mounted: another file system is mounted there, left alone"])
    assert (inside.exists(), beside.exists()) == (True, False)


@pytest.mark.parametrize("way", ["mounted", "mounted/deep"])
def test_a_configuration_cannot_name_its_way_into_a_mount(tmp_path: Path, way: str) -> None:
    file = put(tmp_path / "mounted" / "deep" / "file")
    with pytest.raises(InvalidCleanup, match="is mounted between"):
        clean(tmp_path, way=way, mount_of=mounted_at(tmp_path / "mounted"))
    assert file.exists()


def test_an_allowed_folder_may_be_a_mount_itself(tmp_path: Path) -> None:
    put(tmp_path / "mounted" / "deep" / "file")
    reader = mounted_at(tmp_path / "mounted")
    assert clean(tmp_path / "mounted", mount_of=reader).deleted == 1


def test_where_mounts_have_no_ids_the_walk_goes_on(tmp_path: Path) -> None:
    put(tmp_path / "a" / "file")
    assert clean(tmp_path, mount_of=lambda descriptor: None).deleted == 1


MOUNTING = """
import sys
from pathlib import Path
from tests.unit.cleanup.test_files import clean

root = Path(sys.argv[1])
options = {"none": {}, "no ids": {"mount_of": lambda descriptor: None}}[sys.argv[2]]
report = clean(root, **options)
left = [(root / name / "file").exists() for name in ("bound", "tmpfs")]
print(report.matched, report.deleted, report.errors, *left)
"""


def in_own_mounts(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A shell script in a mount namespace of its own, which is gone with it."""
    unshare = shutil.which("unshare") or pytest.skip("there is no unshare here")
    return subprocess.run(
        [unshare, "-m", "sh", "-ec", script, "sh", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(("reader", "bound_stays"), [("none", True), ("no ids", False)])
def test_real_mounts_are_left_alone(tmp_path: Path, reader: str, bound_stays: bool) -> None:
    """Without ids another file system is still seen by its device; a bind mount is not."""
    source, root = tmp_path / "source", tmp_path / "root"
    put(source / "file")
    put(root / "own")
    put(root / "covered", content="")
    (root / "bound").mkdir()
    (root / "tmpfs").mkdir()
    mounts = 'mount --bind "$1" "$2/bound"; mount -t tmpfs none "$2/tmpfs"'
    probe = in_own_mounts(mounts, str(source), str(root))
    if probe.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {probe.stderr.strip()}")
    files = 'touch -d 2020-01-01 "$2/tmpfs/file"; mount --bind "$2/tmpfs/file" "$2/covered"'
    done = in_own_mounts(
        f'{mounts}; {files}; exec "$3" -c "$4" "$2" "$5"', str(source), str(root), sys.executable, MOUNTING, reader
    )
    assert done.returncode == 0, done.stderr
    matched, deleted, rest = done.stdout.split(" ", 2)
    told = [f"{name}: another file system is mounted there, left alone" for name in ("bound", "tmpfs")]
    if bound_stays:
        assert (matched, deleted) == ("1", "1"), "the file of a tmpfs mounted over another is not ours either"
        assert sorted(rest.splitlines()) in ([f"{order} True True"] for order in (told, told[::-1]))
    else:
        assert rest == f"{told[1:]} False True\n"
    assert (source / "file").exists() == bound_stays


@pytest.mark.parametrize("moved", ["a", "a/b"])
def test_a_folder_that_is_moved_out_during_the_walk_is_not_emptied_there(tmp_path: Path, moved: str) -> None:
    for name in ("1", "2", "3"):
        put(tmp_path / "root" / "a" / "b" / name)
    walk = Walk(pytest.fail)
    gone = []
    with opened_folder(tmp_path / "root", PurePath(), walk) as folder:
        for number, file in enumerate(regular_files(folder, walk)):
            if number == 1:
                (tmp_path / "root" / moved).rename(tmp_path / "elsewhere")
            gone.append(file.unlink_if_unchanged())
    assert gone == [True, False, False]


def test_the_folder_that_a_configuration_names_may_not_leave_the_root_either(tmp_path: Path) -> None:
    put(tmp_path / "root" / "a" / "file")
    walk = Walk(pytest.fail)
    with opened_folder(tmp_path / "root", PurePath("a"), walk) as folder:
        [file] = regular_files(folder, walk)
        (tmp_path / "root" / "a").rename(tmp_path / "elsewhere")
        assert file.unlink_if_unchanged() is False


def test_a_link_put_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    """Looked at again without following: a link to the very file that was seen is not that file."""
    file = put(tmp_path / "root" / "file")
    walk = Walk(pytest.fail)
    with opened_folder(tmp_path / "root", PurePath(), walk) as folder:
        [found] = regular_files(folder, walk)
        file.rename(tmp_path / "kept")
        file.symlink_to(tmp_path / "kept")
        # Renaming changed the ctime: as if it was seen after that, so that only the link tells the two apart.
        assert replace(found, seen=file.stat()).unlink_if_unchanged() is False
    assert file.is_symlink()


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Without root's right to pass everything; as somebody else nothing changes."""
    if os.geteuid() != 0:
        yield
        return
    for found in (folder, *folder.rglob("*")):
        os.chown(found, NOBODY, NOBODY, follow_symlinks=False)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can reach; pytest's own are private."""
    with tempfile.TemporaryDirectory(dir="/tmp" if os.geteuid() == 0 else None) as name:
        Path(name).chmod(0o755)
        yield Path(name)
        for found in Path(name).rglob("*"):
            if found.is_dir():
                found.chmod(0o755)


def test_folders_above_need_to_be_searched_only(open_folder: Path) -> None:
    """Mode --x on the way is enough, as it is for opening any file below."""
    put(open_folder / "above" / "root" / "file")
    with as_nobody(open_folder):
        (open_folder / "above").chmod(0o100)
        assert clean(open_folder / "above" / "root").deleted == 1


def test_a_folder_that_may_not_be_listed_is_an_error_that_says_so(open_folder: Path) -> None:
    put(open_folder / "root" / "file")
    with as_nobody(open_folder):
        (open_folder / "root").chmod(0o100)
        with pytest.raises(InvalidCleanup, match="Permission denied; let the user of this process") as refused:
            clean(open_folder / "root")
    assert "symbolic link" not in refused.value.message


def test_an_inner_folder_that_may_not_be_listed_is_told_and_passed_over(open_folder: Path) -> None:
    for name in ("a", "b", "c"):
        put(open_folder / "root" / name / "file")
    with as_nobody(open_folder):
        (open_folder / "root" / "b").chmod(0o000)
        report = clean(open_folder / "root")
    assert (report.deleted, report.errors) == (2, ["b: Permission denied"])


def test_an_inner_folder_whose_listing_breaks_off_is_told_and_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a damaged disk or a network file system."""
    for name in ("a", "b", "c"):
        put(tmp_path / name / "file")
    broken = (tmp_path / "b").stat().st_ino
    scandir = os.scandir

    def failing(descriptor: int) -> object:
        if os.fstat(descriptor).st_ino == broken:
            raise OSError(5, "Input/output error")
        return scandir(descriptor)

    monkeypatch.setattr(os, "scandir", failing)
    report = clean(tmp_path)
    assert (report.deleted, report.errors) == (2, ["b: Input/output error"])


def test_the_walk_ends_in_every_folder_when_the_time_is_up(tmp_path: Path) -> None:
    for number in range(400):
        put(tmp_path / f"{number}" / "file", content="")
    report = clean(tmp_path, budget=spent_after(0))
    assert (report.complete, report.deleted) == (False, 50), "400 folders, then 50 of them and their files"
    assert clean(tmp_path).deleted == 350
