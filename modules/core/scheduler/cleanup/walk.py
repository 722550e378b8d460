"""A folder walked by file descriptors: no path is ever built again from names, so nobody can swap one underneath."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

DEEPEST = 64
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file with one name, as it was seen; `folder` is open while it is looked at."""

    folder: int
    name: str
    shown_as: str
    seen: os.stat_result

    def unlink_if_unchanged(self) -> bool:
        """Remove it, unless it is not the file any more that was seen."""
        now = os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        same = ("st_ino", "st_dev", "st_mtime_ns", "st_ctime_ns", "st_size", "st_mode", "st_nlink")
        if any(getattr(now, field) != getattr(self.seen, field) for field in same):
            return False
        os.unlink(self.name, dir_fd=self.folder)
        return True


@contextmanager
def opened_folder(root: Path, way: PurePath) -> Iterator[int]:
    """The folder `root/way`, opened component by component from "/", following no symbolic link. Raises OSError."""
    folder = os.open("/", _FOLDER)
    try:
        for part in (*root.parts[1:], *way.parts):
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def regular_files(
    folder: int, *, recursive: bool, problem: Callable[[str], None], above: str = "", depth: int = 1
) -> Iterator[FoundFile]:
    """Regular files with a single link on the same file system; `problem` is told of what cannot be read.

    Symbolic links, hard links, sockets, devices, mount points and folders deeper than 64 levels are left alone.
    """
    device = os.fstat(folder).st_dev
    inner_folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            shown_as = shown(above + entry.name)
            try:
                seen = entry.stat(follow_symlinks=False)
            except OSError as error:
                _unless_gone(error, shown_as, problem)
                continue
            if stat.S_ISDIR(seen.st_mode) and seen.st_dev == device:
                inner_folders.append(entry.name)
            elif stat.S_ISREG(seen.st_mode) and seen.st_dev == device and seen.st_nlink == 1:
                yield FoundFile(folder, entry.name, shown_as, seen)
    if not recursive:
        return
    for name in inner_folders:
        shown_as = shown(above + name)
        if depth >= DEEPEST:
            problem(f"{shown_as}: deeper than {DEEPEST} folders, not looked into")
            continue
        try:
            inner = os.open(name, _FOLDER, dir_fd=folder)
        except OSError as error:
            _unless_gone(error, shown_as, problem)
            continue
        try:
            if os.fstat(inner).st_dev == device:
                yield from regular_files(
                    inner, recursive=True, problem=problem, above=f"{above}{name}/", depth=depth + 1
                )
        finally:
            os.close(inner)


def shown(name: str) -> str:
    """A name as text that any log and any JSON can hold."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _unless_gone(error: OSError, shown_as: str, problem: Callable[[str], None]) -> None:
    if not isinstance(error, FileNotFoundError):
        problem(f"{shown_as}: {error.strerror}")
