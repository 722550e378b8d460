"""Which functions may be scheduled. A stored row or a request can only name what code has put here."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError

from modules.core.errors import ConfigurationError, did_you_mean
from modules.core.scheduler.errors import InvalidParameters, UnknownFunction
from modules.core.scheduler.fairness import Limit

TaskFunction = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class RegisteredTask:
    """A function that may be scheduled, and how it wants to be called."""

    module_id: str
    function_name: str
    function: TaskFunction
    is_async: bool
    wants_context: bool
    parameter_model: type[BaseModel] | None
    description: str | None

    def validate(self, parameters: Mapping[str, Any]) -> Any:
        """What the function is called with: the parameters, as its model where it has one. Raises InvalidParameters."""
        if self.parameter_model is None:
            return dict(parameters)
        try:
            return self.parameter_model.model_validate(dict(parameters))
        except ValidationError as error:
            problems = [
                {"field": ".".join(str(part) for part in item["loc"]), "problem": item["msg"]}
                for item in error.errors(include_url=False, include_input=False, include_context=False)
            ]
            first = problems[0]
            raise InvalidParameters(
                f"The parameters do not fit {self.module_id}.{self.function_name}: "
                f"{first['field'] or 'parameters'}: {first['problem']}.",
                details={"problems": problems[:20]},
            ) from error


class TaskRegistry:
    """`(module_id, function_name)` -> function. Filled in phase 1 by `register`; service key "core.scheduler.tasks"."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str], RegisteredTask] = {}
        self.limits: set[Limit] = set()
        self.node_limits: set[Limit] = set()

    def register(
        self,
        module_id: str,
        function: TaskFunction,
        *,
        name: str | None = None,
        description: str | None = None,
        max_running: int | None = None,
    ) -> None:
        """Offer `function` under its own name, or under `name`; at most `max_running` of it run at once on all nodes.

        `async def f(parameters)` runs on the event loop, a plain `def` in a thread. A second positional parameter
        is given the ExecutionContext. A Pydantic model as annotation of the first one is how the parameters are
        validated, when they are scheduled and again when they are run.
        """
        function_name = name or getattr(function, "__name__", "")
        if not callable(function) or not function_name:
            raise ConfigurationError(f"{module_id}: register(module_id, function) needs a function, or a name= for it.")
        key = (module_id, function_name)
        if key in self._tasks:
            raise ConfigurationError(f"{module_id}.{function_name} is registered already: give it another name=.")
        self._tasks[key] = _inspect(module_id, function_name, function, description)
        if max_running is not None:
            self.limits.add(_limit(module_id, function_name, max_running, "max_running"))

    def limit_module(
        self, module_id: str, *, max_running: int | None = None, max_running_per_node: int | None = None
    ) -> None:
        """At most that many executions of the module's functions at once: on all nodes together, and on each node, so
        that one module cannot fill it. Nodes count alike only where their code says the same."""
        if max_running is not None:
            self.limits.add(_limit(module_id, None, max_running, "max_running"))
        if max_running_per_node is not None:
            self.node_limits.add(_limit(module_id, None, max_running_per_node, "max_running_per_node"))

    def get(self, module_id: str, function_name: str) -> RegisteredTask:
        """The registered function, or UnknownFunction, which says which ones there are."""
        task = self._tasks.get((module_id, function_name))
        if task is not None:
            return task
        of_module = [name for module, name in self._tasks if module == module_id]
        if of_module:
            hint = did_you_mean(function_name, of_module)
            known = f"It offers: {', '.join(sorted(of_module))}."
        else:
            modules = sorted({module for module, _ in self._tasks})
            hint = did_you_mean(module_id, modules)
            known = f"Modules that offer functions: {', '.join(modules) or 'none'}."
        raise UnknownFunction(
            f"No function {function_name!r} of module {module_id!r} is registered.{hint} {known}",
            details={"module_id": module_id, "function_name": function_name},
        )

    def keys(self) -> Collection[tuple[str, str]]:
        """Every registered `(module_id, function_name)`."""
        return self._tasks.keys()

    def tasks(self) -> Iterable[RegisteredTask]:
        """Every registered function."""
        return self._tasks.values()

    def __contains__(self, key: object) -> bool:
        return key in self._tasks

    def find_module_of(self, function_name: str) -> str:
        """The one module that offers a function of this name. Raises UnknownFunction where none or several do."""
        modules = [module for module, name in self._tasks if name == function_name]
        if len(modules) == 1:
            return modules[0]
        names = [f"{module}:{name}" for module, name in self._tasks]
        hint = did_you_mean(function_name, names) if not modules else ""
        which = f"{' and '.join(sorted(modules))} offer it" if modules else "no module offers it"
        raise UnknownFunction(
            f"{function_name!r} does not say which function is meant: {which}; write module_id:function_name.{hint}"
        )


def _limit(module_id: str, function_name: str | None, most: int, what: str) -> Limit:
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ConfigurationError(f"{module_id}: {what} must be a whole number from 1 on, not {most!r}.")
    return Limit(module_id, function_name, most)


def _inspect(module_id: str, function_name: str, function: TaskFunction, description: str | None) -> RegisteredTask:
    target = function
    while isinstance(target, partial):
        target = target.func
    if not inspect.isroutine(target) and not inspect.isclass(target):
        target = type(target).__call__
    try:
        parameters = [
            parameter
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{module_id}.{function_name}: its signature cannot be read; wrap it in a def."
        ) from error
    required = [parameter for parameter in parameters if parameter.default is parameter.empty]
    if not parameters or len(required) > 2:
        raise ConfigurationError(
            f"{module_id}.{function_name} must take (parameters) or (parameters, context), not "
            f"({', '.join(parameter.name for parameter in parameters)})."
        )
    wants_context = len(required) == 2 or (len(parameters) > 1 and parameters[1].name == "context")
    return RegisteredTask(
        module_id=module_id,
        function_name=function_name,
        function=function,
        is_async=inspect.iscoroutinefunction(target),
        wants_context=wants_context,
        parameter_model=_model_of(target, parameters[0].name),
        description=description or inspect.getdoc(target),
    )


def _model_of(function: TaskFunction, parameter: str) -> type[BaseModel] | None:
    try:
        annotation = typing.get_type_hints(function).get(parameter)
    except (NameError, TypeError, AttributeError):
        annotation = getattr(function, "__annotations__", {}).get(parameter)
        if isinstance(annotation, str):
            raise ConfigurationError(
                f"The annotation {annotation!r} of {getattr(function, '__qualname__', function)} cannot be resolved: "
                "define the model at module level, or leave the annotation out."
            ) from None
    is_model = inspect.isclass(annotation) and issubclass(annotation, BaseModel)
    return typing.cast(type[BaseModel], annotation) if is_model else None
