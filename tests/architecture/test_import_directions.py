"""Imports go downward only. A file that imports what stands above it cannot be understood, or tested, without it."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from tests.support.sources import Source, imports_of, python_files, within

# The lowest layer first. A file may import its own layer and everything below; an entry stands for its package too.
LAYERS: list[tuple[str, list[str]]] = [
    (
        "ground: nothing of ours below",
        ["core.clock", "core.column_types", "core.errors", "core.ids", "core.session"],
    ),
    (
        "core",
        [
            "core.background",
            "core.database",
            "core.database_errors",
            "core.postgresql",
            "core.database_url",
            "core.direct_connection",
            "core.joined",
            "core.error_handler",
            "core.module",
            "core.result",
            "core.settings",
        ],
    ),
    ("core: schema", ["core.migrations"]),
    ("core: context", ["core.app_context"]),
    (
        "scheduler: values and rules",
        [
            "core.scheduler.cluster_clock",
            "core.scheduler.cpu_meter",
            "core.scheduler.cross_site",
            "core.scheduler.doorbell",
            "core.scheduler.cursors",
            "core.scheduler.downtime",
            "core.scheduler.errors",
            "core.scheduler.execution",
            "core.scheduler.fairness",
            "core.scheduler.input_rules",
            "core.scheduler.json_gate",
            "core.scheduler.late_checks",
            "core.scheduler.lifecycle",
            "core.scheduler.loop_watch",
            "core.scheduler.module_settings",
            "core.scheduler.outcomes",
            "core.scheduler.pace",
            "core.scheduler.redaction",
            "core.scheduler.status",
        ],
    ),
    ("scheduler: triggers", ["core.scheduler.triggers"]),
    ("scheduler: what fires", ["core.scheduler.firing", "core.scheduler.task_config", "core.scheduler.task_registry"]),
    ("scheduler: tables", ["core.scheduler.db_models"]),
    (
        "scheduler: statements, shapes",
        [
            "core.scheduler.cleanup",
            "core.scheduler.db_ops",
            "core.scheduler.ledger",
            "core.scheduler.nodes",
            "core.scheduler.preview",
            "core.scheduler.control_schemas",
            "core.scheduler.schemas",
            "core.scheduler.trigger_manager",
            "core.scheduler.views",
        ],
    ),
    (
        "scheduler: shared parts",
        [
            "core.scheduler.control",
            "core.scheduler.edit_preview",
            "core.scheduler.new_event",
            "core.scheduler.questions",
            "core.scheduler.runtime",
        ],
    ),
    ("scheduler: settling", ["core.scheduler.intake", "core.scheduler.settlement", "core.scheduler.task_runner"]),
    (
        "scheduler: workers",
        [
            "core.scheduler.auth",
            "core.scheduler.cluster",
            "core.scheduler.coming_back",
            "core.scheduler.heartbeat",
            "core.scheduler.housekeeper",
            "core.scheduler.recorder",
            "core.scheduler.recovery",
            "core.scheduler.wakeups",
        ],
    ),
    ("scheduler: jobs", ["core.scheduler.builtin_tasks", "core.scheduler.job_manager", "core.scheduler.running_jobs"]),
    ("scheduler: dispatch", ["core.scheduler.dispatcher"]),
    (
        "scheduler: service",
        [
            "core.scheduler.control_service",
            "core.scheduler.ledger_service",
            "core.scheduler.node_service",
            "core.scheduler.service",
        ],
    ),
    (
        "scheduler: doors",
        [
            "core.scheduler.api",
            "core.scheduler.control_routes",
            "core.scheduler.ledger_routes",
            "core.scheduler.routes",
        ],
    ),
    (
        "scheduler: as a whole",
        ["core.scheduler.embedding", "core.scheduler.module", "core.scheduler.testing", "core.scheduler"],
    ),
    ("examples", ["standard"]),
    ("application", ["app"]),
    ("command line", ["cli"]),
]
PLACES = {f"modules.{name}": level for level, (_, names) in enumerate(LAYERS) for name in names}
# core/__init__.py and modules/__init__.py hold a docstring; they have no place because they import nothing.
EMPTY = {"modules", "modules.core"}


def level_of(name: str) -> int | None:
    """The layer of a dotted name; the package modules.core.scheduler itself stands for its __init__ only."""
    best = [place for place in PLACES if within(name, place)]
    if not best:
        return None
    nearest = max(best, key=len)
    return None if nearest == "modules.core.scheduler" != name else PLACES[nearest]


def file_behind(target: str, names: set[str]) -> str:
    """`modules.core.errors.NotFound` -> `modules.core.errors`: the longest part of it that is a file."""
    while target and target not in names:
        target = target.rpartition(".")[0]
    return target


def broken_directions(sources: list[Source]) -> list[str]:
    """A sentence for each import that goes upward, and for each file without a place."""
    names = {source.name for source in sources} | set(PLACES)
    broken = []
    for source in sources:
        level = level_of(source.name)
        if level is None:
            if source.name not in EMPTY:
                broken.append(f"{source.path} has no place in the order of imports: add it to LAYERS in this test.")
            continue
        for found in imports_of(source):
            target = file_behind(found.target, names)
            below = level_of(target) if target else None
            # Only a type checker follows a TYPE_CHECKING import: it may name what stands above.
            if below is not None and below > level and not found.typing_only:
                broken.append(
                    f"{source.path}:{found.line} ({LAYERS[level][0]}) imports {target} ({LAYERS[below][0]}): "
                    "imports go downward only, so that each layer is usable and testable without those above it. "
                    "Move the shared part down, or hand the thing over as an argument."
                )
    return broken


def circles(sources: list[Source]) -> list[str]:
    """Files that need each other to be imported."""
    names = {source.name for source in sources} | set(PLACES)
    graph = {
        source.name: {file_behind(found.target, names) for found in imports_of(source) if not found.typing_only}
        - {source.name, ""}
        for source in sources
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"These files import each other in a circle: {' -> '.join(error.args[1])}. Move the shared part out."]
    return []


def test_imports_go_downward_only() -> None:
    """Each file imports its own layer and those below."""
    assert broken_directions(python_files("modules")) == []


def test_no_two_files_import_each_other() -> None:
    """Also within a layer there is an order."""
    assert circles(python_files("modules")) == []


def test_an_upward_import_is_reported_with_its_reason() -> None:
    """The checker bites, also inside a function; what only a type checker reads is left alone."""
    service = Source("modules/core/scheduler/service.py", "")
    bad = Source("modules/core/clock.py", "def f():\n    from modules.core.scheduler.service import SchedulerService\n")
    (complaint,) = broken_directions([bad, service])
    assert complaint.startswith("modules/core/clock.py:2 ")
    assert "downward only" in complaint

    typing_only = "if TYPE_CHECKING:\n    from modules.core.scheduler.service import SchedulerService\n"
    assert broken_directions([Source("modules/core/clock.py", typing_only), service]) == []


def test_a_file_without_a_place_is_reported() -> None:
    """A new file has to be put somewhere on purpose."""
    (complaint,) = broken_directions([Source("modules/core/scheduler/helpers.py", "")])
    assert "has no place" in complaint


def test_a_circle_is_reported() -> None:
    """Two files of one layer that import each other."""
    first = Source("modules/core/errors.py", "from modules.core.ids import new_id\n")
    second = Source("modules/core/ids.py", "from modules.core import errors\n")
    (complaint,) = circles([first, second])
    assert "modules.core.errors" in complaint
