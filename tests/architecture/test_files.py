"""The project stands alone (no path of the machine it was written on), and its files stay short enough to read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.sources import ROOT, python_files

LONGEST = 400
# path: why it is one file all the same
LONG_FILES: dict[str, str] = {}

LEFT_OUT = {"build", "dist", "data", "node_modules", "__pycache__", "htmlcov"}
KEPT_HIDDEN = {".ci", ".github", ".gitignore", ".dockerignore"}
BINARY = {".png", ".jpg", ".ico", ".woff2", ".gz", ".sqlite3", ".pyc", ".so", ".whl"}
# Written in two halves, so that this file does not complain about itself.
STRANGE = {
    "../sha" + "red": "a folder outside the project",
    "/work/" + "main": "a path of one machine",
    "/work/" + "shared": "a path of one machine",
    "/work/" + ".library": "a path of one machine",
    "/root/" + ".pyenv": "a path of one machine",
    "/opt/" + "pypi": "a path of one machine",
    "pypi" + ".org": "a package registry's host: name packages, and let the installer be configured by its user",
    "python" + "hosted.org": "a package registry's host",
    "registry." + "npmjs.org": "a package registry's host",
}
ANY_STRANGE = re.compile("|".join(re.escape(word) for word in STRANGE))


def project_files() -> Iterator[Path]:
    """The files that belong to the project; what tools leave behind is left out."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name not in LEFT_OUT
            and (not name.startswith(".") or name in KEPT_HIDDEN)
            and not name.endswith(".egg-info")
        ]
        for name in files:
            if (not name.startswith(".") or name in KEPT_HIDDEN) and Path(name).suffix not in BINARY:
                yield Path(folder) / name


def strange_names(path: str, text: str) -> list[str]:
    """A sentence for each mention of something that exists on one machine only."""
    return [
        f"{path}:{number} names {found!r}, {STRANGE[found]}: whoever clones the project does not have it."
        for number, line in enumerate(text.splitlines(), 1)
        for found in ANY_STRANGE.findall(line)
    ]


def too_long(path: str, text: str, reasons: dict[str, str]) -> list[str]:
    """A sentence when a file is past the limit and no reason is given."""
    lines = len(text.splitlines())
    if lines <= LONGEST or reasons.get(path):
        return []
    return [f"{path} has {lines} lines (more than {LONGEST}): split it by subject, or write the reason in LONG_FILES."]


def test_the_project_stands_alone() -> None:
    """No file names a path of one machine, a folder outside or a registry's host."""
    found = []
    for path in project_files():
        text = path.read_text(encoding="utf-8", errors="replace")
        found += strange_names(path.relative_to(ROOT).as_posix(), text)
    assert found == []


def test_files_are_short() -> None:
    """A file past 400 lines is a question; the list holds the answers."""
    sources = python_files("modules", "migrations", "tests")
    assert [line for source in sources for line in too_long(source.path, source.text, LONG_FILES)] == []


def test_the_list_of_long_files_is_not_out_of_date() -> None:
    """Who became short again leaves the list."""
    lengths = {source.path: len(source.text.splitlines()) for source in python_files("modules", "migrations", "tests")}
    assert [path for path in LONG_FILES if lengths.get(path, 0) <= LONGEST] == []


def test_a_strange_name_and_a_long_file_are_reported() -> None:
    """The checkers bite."""
    assert len(strange_names("README.md", "see ../sha" + "red/x\nand https://pypi" + ".org/simple")) == 2
    assert too_long("a.py", "x\n" * 401, {}) != []
    assert too_long("a.py", "x\n" * 401, {"a.py": "a table that is read from top to bottom"}) == []
    assert too_long("a.py", "x\n" * 400, {}) == []
