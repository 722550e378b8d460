"""Packages with a module.py, made for one test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modules.core.settings import AppSettings

MakeModule = Callable[[str, str], str]


def module_maker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> MakeModule:
    """`make(name, source)` writes the package and returns its import path; the test's end makes Python forget it."""
    monkeypatch.syspath_prepend(folder)

    def make(name: str, source: str) -> str:
        package = folder / name
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "module.py").write_text(source)
        for known in (name, f"{name}.module"):
            monkeypatch.delitem(sys.modules, known, raising=False)
            # Set and removed again, so that the undo at the test's end removes what the import will put there.
            monkeypatch.setitem(sys.modules, known, sys)
            del sys.modules[known]
        return name

    return make


def settings_with_only(*paths: str, database_url: str = "") -> AppSettings:
    """Settings of an application that consists of these modules alone, without the scheduler."""
    return AppSettings.load(database_url=database_url).model_copy(update={"modules": paths})
