"""What a module is, how it is found, and in which order modules start.

A module is a package with a `module.py`. That file holds either one class with these members, or the same members
at its top level: `MODULE_ID`, `DEPENDS_ON`, `register(context)`, and, where needed, `async start(context)` and
`async stop(context)`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from modules.core.errors import ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from modules.core.app_context import AppContext


class Module(Protocol):
    """The two phases of a module's life, and its end.

    register: synchronous, no I/O; announce services, routers, task functions. Only services of modules named in
    DEPENDS_ON may be looked up. start: everything is registered and the database is open. stop: called in reverse
    order, also for a module whose start failed half-way, so it must cope with what was never started.
    """

    @property
    def MODULE_ID(self) -> str: ...

    @property
    def DEPENDS_ON(self) -> Sequence[str]: ...

    def register(self, context: AppContext) -> None: ...

    async def start(self, context: AppContext) -> None: ...

    async def stop(self, context: AppContext) -> None: ...


class _Loaded:
    """A module as found in a module.py, with what it left out filled in."""

    def __init__(self, source: Any, path: str) -> None:
        self.MODULE_ID: str = source.MODULE_ID
        depends = getattr(source, "DEPENDS_ON", ())
        if isinstance(depends, str) or not all(isinstance(name, str) for name in depends):
            raise ConfigurationError(
                f"DEPENDS_ON of {path}.module must be a list of module ids, such as ['core.scheduler']."
            )
        self.DEPENDS_ON: tuple[str, ...] = tuple(depends)
        self._source = source

    def register(self, context: AppContext) -> None:
        if inspect.iscoroutinefunction(self._source.register):
            raise ConfigurationError(
                f"{self.MODULE_ID}: register(context) must not be async; do async work in start(context)."
            )
        self._source.register(context)

    async def start(self, context: AppContext) -> None:
        await self._call("start", context)

    async def stop(self, context: AppContext) -> None:
        await self._call("stop", context)

    async def _call(self, name: str, context: AppContext) -> None:
        hook = getattr(self._source, name, None)
        if hook is not None:
            outcome = hook(context)
            if inspect.isawaitable(outcome):
                await outcome


def load_modules(paths: Iterable[str]) -> list[Module]:
    """The modules behind these import paths, in start order."""
    return in_start_order([_load(path) for path in paths])


def _load(path: str) -> Module:
    name = f"{path}.module"
    try:
        found = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise ConfigurationError(
                f"APP_MODULES names {path!r}, but {error.name!r} cannot be imported: it must be a package "
                "with a module.py, on the Python path."
            ) from error
        raise
    return _Loaded(_source_of(found, path), path)


def _source_of(found: ModuleType, path: str) -> Any:
    if hasattr(found, "MODULE_ID") and callable(getattr(found, "register", None)):
        return found
    classes = [
        member
        for member in vars(found).values()
        if inspect.isclass(member)
        and member.__module__ == found.__name__
        and hasattr(member, "MODULE_ID")
        and callable(getattr(member, "register", None))
    ]
    if len(classes) != 1:
        raise ConfigurationError(
            f"{path}.module must hold MODULE_ID and register(context), at its top level or in exactly one class."
        )
    return classes[0]()


def in_start_order(modules: Sequence[Module]) -> list[Module]:
    """Dependencies first; otherwise the order given."""
    by_id: dict[str, Module] = {}
    for module in modules:
        if module.MODULE_ID in by_id:
            raise ConfigurationError(f"Two modules are called {module.MODULE_ID!r}: give each its own MODULE_ID.")
        by_id[module.MODULE_ID] = module
    for module in modules:
        for name in module.DEPENDS_ON:
            if name not in by_id:
                raise ConfigurationError(
                    f"{module.MODULE_ID!r} depends on {name!r}, which is not loaded.{did_you_mean(name, by_id)} "
                    "Add its package to APP_MODULES or remove it from DEPENDS_ON."
                )
    sorter = TopologicalSorter({name: by_id[name].DEPENDS_ON for name in by_id})
    try:
        return [by_id[name] for name in sorter.static_order()]
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise ConfigurationError(
            f"These modules depend on each other in a circle: {circle}. Remove one link."
        ) from error
