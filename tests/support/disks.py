"""A disk of a test's own that can be full or read-only: a small tmpfs, which only root may mount.

Other users get a folder whose rights are taken away, which root would not notice; they have no full disk.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """`folder` is on it; a mount refuses `forbid_writing` while a file on it is open for writing."""

    def __init__(self, folder: Path, *, mounted: bool) -> None:
        self.folder = folder
        self._mounted = mounted
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        if not self._mounted:
            pytest.skip("only root may mount a disk that is small enough to be filled")
        with self._ballast.open("ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError as error:
                    assert error.errno == errno.ENOSPC  # noqa: PT017  # that it is raised is the loop's only end

    def make_space(self) -> None:
        self._ballast.unlink()

    def forbid_writing(self) -> None:
        self._set("ro")

    def allow_writing(self) -> None:
        self._set("rw")

    def _set(self, rights: str) -> None:
        if not self._mounted:
            for path in (*self.folder.iterdir(), self.folder):
                writable = 0o222 if rights == "rw" else 0
                path.chmod((path.stat().st_mode & ~0o222) | (writable & 0o755))
            return
        subprocess.run(["mount", "-o", f"remount,{rights}", str(self.folder)], check=True)


@contextmanager
def small_disk(size: str = "4m") -> Iterator[SmallDisk]:
    """A new, empty disk, gone after the block. Not in pytest's folders, which a disk left by a kill would keep."""
    folder = Path(tempfile.mkdtemp(prefix="scheduler-disk-"))
    mounted = os.geteuid() == 0
    if mounted:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=False, capture_output=True
        )
        if done.returncode != 0:
            pytest.skip("this machine lets nobody mount a disk")
    disk = SmallDisk(folder, mounted=mounted)
    try:
        yield disk
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        else:
            disk.allow_writing()
        shutil.rmtree(folder, ignore_errors=True)
