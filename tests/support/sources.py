"""The project's own Python files as syntax trees: what the architecture tests read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Source:
    """One file: its path from the project's root, its dotted name, its text and its tree."""

    path: str
    text: str

    @property
    def name(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


@dataclass(frozen=True)
class Import:
    """`target` with the imported name; `typing_only`: inside `if TYPE_CHECKING`; `late`: inside a function."""

    target: str
    line: int
    typing_only: bool
    late: bool


def python_files(*folders: str) -> list[Source]:
    """Every Python file below these folders of the project."""
    return [
        Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def imports_of(source: Source) -> list[Import]:
    """All imports of a file. `from a import b` gives `a.b`: whether b is a file is for the reader to find out."""
    return list(_imports(source.tree, package_of(source), typing_only=False, late=False))


def package_of(source: Source) -> str:
    """The package that relative imports of the file start from."""
    return source.name if source.path.endswith("/__init__.py") else source.name.rpartition(".")[0]


def _imports(node: ast.AST, package: str, *, typing_only: bool, late: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, typing_only, late)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                start = package.rsplit(".", child.level - 1)[0] if child.level > 1 else package
                base = f"{start}.{base}".rstrip(".")
            for alias in child.names:
                yield Import(f"{base}.{alias.name}", child.lineno, typing_only, late)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for part in child.body:
                yield from _imports(ast.Module([part], []), package, typing_only=True, late=late)
            for part in child.orelse:
                yield from _imports(ast.Module([part], []), package, typing_only=typing_only, late=late)
        else:
            inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, package, typing_only=typing_only, late=late or inner)


def within(name: str, place: str) -> bool:
    """Whether the dotted `name` is `place` or below it."""
    return name == place or name.startswith(place + ".")
