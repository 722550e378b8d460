"""A folder walked by file descriptors: no path is ever built again from names, so nobody can swap one underneath."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

from modules.core.scheduler.cleanup.report import shown

DEEPEST = 64
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LISTED = os.O_RDONLY | _FOLDER
# Passing through a folder needs the right to search it (--x), not to list it.
_PASSED = getattr(os, "O_PATH", os.O_RDONLY) | _FOLDER

MountReader = Callable[[int], int | None]


def mount_of(descriptor: int) -> int | None:
    """The id of the mount that an open file was reached through; None where the system does not tell.

    A bind mount of the same file system has the same st_dev; its mount id differs.
    """
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.removeprefix("mnt_id:")) for line in lines if line.startswith("mnt_id:")), None)


@dataclass(frozen=True, slots=True)
class Folder:
    """An open folder, and the one it was found in; the allowed root has none above it."""

    descriptor: int
    above: Folder | None = None

    def in_place(self) -> bool:
        """Whether it and all folders above it, up to the root, are still where they were found. Raises OSError."""
        here = self
        while here.above is not None:
            parent = os.stat("..", dir_fd=here.descriptor, follow_symlinks=False)
            if not os.path.samestat(parent, os.fstat(here.above.descriptor)):
                return False
            here = here.above
        return True


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file with one name, as it was seen; `folder` is open while it is looked at."""

    folder: Folder
    name: str
    shown_as: str
    seen: os.stat_result

    def unlink_if_unchanged(self) -> bool:
        """Remove it, unless it is not the file any more that was seen, or its folder was moved. Raises OSError."""
        now = os.stat(self.name, dir_fd=self.folder.descriptor, follow_symlinks=False)
        same = ("st_ino", "st_dev", "st_mtime_ns", "st_ctime_ns", "st_size", "st_mode", "st_nlink")
        if any(getattr(now, field) != getattr(self.seen, field) for field in same) or not self.folder.in_place():
            return False
        os.unlink(self.name, dir_fd=self.folder.descriptor)
        return True


@dataclass(frozen=True, slots=True)
class Walk:
    """How to walk: `problem` is told of what is left alone, `stop` is asked before each entry of a folder."""

    problem: Callable[[str], None]
    stop: Callable[[], bool] = lambda: False
    recursive: bool = True
    mount_of: MountReader = mount_of

    def same_mount(self, one: int, other: int) -> bool:
        """Whether two open folders are on one file system, and reached through one mount of it."""
        return os.fstat(one).st_dev == os.fstat(other).st_dev and self.mount_of(one) == self.mount_of(other)


@contextmanager
def opened_folder(root: Path, way: PurePath, walk: Walk) -> Iterator[Folder]:
    """The folder `root/way`, opened component by component from "/", following no symbolic link.

    Raises OSError: ELOOP or ENOTDIR for links and files on the way, EXDEV for a mount between `root` and the folder.
    """
    parts = (*root.parts[1:], *way.parts)
    folder: Folder | None = None
    with ExitStack() as opened:
        here = os.open("/", _PASSED)
        opened.callback(os.close, here)
        for number, part in enumerate(parts, 1):
            here = os.open(part, _LISTED if number == len(parts) else _PASSED, dir_fd=here)
            opened.callback(os.close, here)
            if folder is not None and not walk.same_mount(folder.descriptor, here):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            if number >= len(root.parts) - 1:
                folder = Folder(here, folder)
        assert folder is not None, "a root is never / itself"
        yield folder


def regular_files(folder: Folder, walk: Walk, *, above: str = "", depth: int = 1) -> Iterator[FoundFile]:
    """Regular files with a single link on the same file system. Raises OSError when `folder` cannot be listed.

    Symbolic links, hard links, sockets, devices, mount points and folders deeper than 64 levels are left alone; an
    inner folder that cannot be listed is a problem told, and the walk goes on.
    """
    device = os.fstat(folder.descriptor).st_dev
    inner_folders: list[str] = []
    with os.scandir(folder.descriptor) as entries:
        for entry in entries:
            if walk.stop():
                return
            shown_as = shown(above + entry.name)
            try:
                seen = entry.stat(follow_symlinks=False)
            except OSError as error:
                _unless_gone(error, shown_as, walk)
                continue
            if stat.S_ISDIR(seen.st_mode):
                inner_folders.append(entry.name)
            elif stat.S_ISREG(seen.st_mode) and seen.st_dev == device and seen.st_nlink == 1:
                yield FoundFile(folder, entry.name, shown_as, seen)
    for name in inner_folders if walk.recursive else ():
        if walk.stop():
            return
        if depth >= DEEPEST:
            walk.problem(f"{shown(above + name)}: deeper than {DEEPEST} folders, not looked into")
            continue
        try:
            yield from _inside(folder, name, walk, above=above, depth=depth)
        except OSError as error:
            _unless_gone(error, shown(above + name), walk)


def _inside(folder: Folder, name: str, walk: Walk, *, above: str, depth: int) -> Iterator[FoundFile]:
    inner = os.open(name, _LISTED, dir_fd=folder.descriptor)
    try:
        if walk.same_mount(folder.descriptor, inner):
            yield from regular_files(Folder(inner, folder), walk, above=f"{above}{name}/", depth=depth + 1)
        else:
            walk.problem(f"{shown(above + name)}: another file system is mounted there, left alone")
    finally:
        os.close(inner)


def _unless_gone(error: OSError, shown_as: str, walk: Walk) -> None:
    if not isinstance(error, FileNotFoundError):
        walk.problem(f"{shown_as}: {error.strerror}")
