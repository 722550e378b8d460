"""Decisions are pure: these files are functions of values, so their whole tables are tested in milliseconds."""

from __future__ import annotations

from tests.support.sources import ROOT, Source, imports_of, python_files, within

# Pure all the way down: nothing that they import touches a database, an event loop, the web or a clock either.
PURE = [
    "modules.core.scheduler.errors",
    "modules.core.scheduler.lifecycle",
    "modules.core.scheduler.module_settings",
    "modules.core.scheduler.outcomes",
    "modules.core.scheduler.input_rules",
    "modules.core.scheduler.downtime",
    "modules.core.scheduler.firing",
    "modules.core.scheduler.late_checks",
    "modules.core.scheduler.triggers",
    "modules.core.scheduler.task_config",
]
# Pure by themselves; they use the shapes of rows, which live beside the tables.
PURE_BUT_FOR_ROW_SHAPES = [
    "modules.core.scheduler.control",
    "modules.core.scheduler.cursors",
    "modules.core.scheduler.ledger",
    "modules.core.scheduler.new_event",
    "modules.core.scheduler.nodes",
    "modules.core.scheduler.preview",
    "modules.core.scheduler.status",
    "modules.core.scheduler.views",
]
IMPURE = ("sqlalchemy", "asyncio", "threading", "fastapi", "starlette", "socket", "subprocess", "modules.core.clock")


def impure_imports(source: Source) -> list[str]:
    """A sentence for each import that brings I/O, an event loop or a clock into the file."""
    return [
        f"{source.path}:{item.line} imports {item.target}: decisions are pure functions of values (no database, "
        "no event loop, no web, no clock). Move the I/O to the caller and hand over what it found."
        for item in imports_of(source)
        if not item.typing_only and any(within(item.target, name) for name in IMPURE)
    ]


def everything_below(start: str, sources: dict[str, Source]) -> list[Source]:
    """The files of `start` and all project files that they import, directly or not."""
    waiting = [name for name in sources if within(name, start)]
    seen: dict[str, Source] = {}
    while waiting:
        name = waiting.pop()
        while name and name not in sources:
            name = name.rpartition(".")[0]
        # The scheduler's package offers its public surface; importing a file of it is not a wish for the rest.
        if not name or name in seen or name == "modules.core.scheduler":
            continue
        seen[name] = sources[name]
        waiting += [item.target for item in imports_of(sources[name]) if not item.typing_only]
    return list(seen.values())


def test_pure_files_stay_pure() -> None:
    """Also through what they import."""
    sources = {source.name: source for source in python_files("modules")}
    below = {file.path: file for name in PURE for file in everything_below(name, sources)}
    alone = [source for name, source in sources.items() if name in PURE_BUT_FOR_ROW_SHAPES]
    assert [line for source in [*below.values(), *alone] for line in impure_imports(source)] == []


def test_the_list_names_files_that_exist() -> None:
    """A renamed file does not drop out of the check unseen."""
    paths = [ROOT / name.replace(".", "/") for name in [*PURE, *PURE_BUT_FOR_ROW_SHAPES]]
    assert [path.name for path in paths if not path.with_suffix(".py").exists() and not path.is_dir()] == []


def test_impurity_is_reported() -> None:
    """The checker bites, also on an import of an import."""
    text = "import asyncio\nfrom sqlalchemy import select\nfrom modules.core.clock import SystemClock\n"
    assert len(impure_imports(Source("modules/core/scheduler/lifecycle.py", text))) == 3
    sources = {
        "modules.a": Source("modules/a.py", "from modules.b import x\n"),
        "modules.b": Source("modules/b.py", "import asyncio\n"),
    }
    assert [file.path for file in everything_below("modules.a", sources)] == ["modules/a.py", "modules/b.py"]
