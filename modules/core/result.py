"""Result: what a module's public methods return, and the bridge to it from raised errors."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from modules.core.errors import ModuleError

P = ParamSpec("P")
S = TypeVar("S")
logger = logging.getLogger(__name__)


class ResultError(ModuleError):
    """A failed Result was unwrapped where nobody handled the failure."""

    code = "RESULT_ERROR"


class _MakeSuccess(Protocol):
    def __call__(self, data: Any = None) -> Result: ...


class _MakeError(Protocol):
    def __call__(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> Result: ...


class _Success:
    """`Result.success(data=...)` on the class, the flag on an instance: the specification uses one name for both."""

    @overload
    def __get__(self, instance: None, owner: type[Result]) -> _MakeSuccess: ...
    @overload
    def __get__(self, instance: Result, owner: type[Result]) -> bool: ...
    def __get__(self, instance: Result | None, owner: type[Result]) -> _MakeSuccess | bool:
        if instance is not None:
            return instance._error is None
        return lambda data=None: owner(data, None)


class _Error:
    """`Result.error(code=..., message=...)` on the class, the error dict (or None) on an instance."""

    @overload
    def __get__(self, instance: None, owner: type[Result]) -> _MakeError: ...
    @overload
    def __get__(self, instance: Result, owner: type[Result]) -> dict[str, Any] | None: ...
    def __get__(self, instance: Result | None, owner: type[Result]) -> _MakeError | dict[str, Any] | None:
        if instance is not None:
            return instance._error

        def make(code: str, message: str, details: Mapping[str, Any] | None = None) -> Result:
            return owner(None, {"code": code, "message": message, "details": dict(details or {})})

        return make


class Result:
    """Success with `data`, or failure with an `error` dict: `{"code": str, "message": str, "details": dict}`.

    Truthy when successful, so `if result:` and `if result.success:` mean the same.
    """

    success = _Success()
    error = _Error()

    def __init__(self, data: Any, error: dict[str, Any] | None, cause: ModuleError | None = None) -> None:
        self.data = data
        self._error = error
        self._cause = cause

    @classmethod
    def from_error(cls, error: ModuleError) -> Result:
        """The failure that `error` describes; `unwrap()` raises that very error again."""
        return cls(None, {"code": error.error_code, "message": error.message, "details": error.details}, error)

    def unwrap(self) -> Any:
        """The data of a success; raises the ModuleError behind a failure."""
        if self._error is None:
            return self.data
        if self._cause is not None:
            raise self._cause
        raise ResultError(self._error["message"], code=self._error["code"], details=self._error["details"])

    def __bool__(self) -> bool:
        return self._error is None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Result) and (self.data, self._error) == (other.data, other._error)

    __hash__ = None  # type: ignore[assignment]  # equal by content, and the content is mutable

    def __repr__(self) -> str:
        if self._error is None:
            return f"Result.success(data={self.data!r})"
        return f"Result.error(code={self._error['code']!r}, message={self._error['message']!r})"


def returns_result(
    method: Callable[Concatenate[S, P], Awaitable[Any]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, Result]]:
    """A public method that raises ModuleErrors inside and returns a Result outside.

    Anything else that it raises is logged with its traceback and becomes INTERNAL_ERROR: callers of a
    module never need a try.
    """
    return _bridge(method, ModuleError.code)


def returns_result_or(
    code: str,
) -> Callable[[Callable[Concatenate[S, P], Awaitable[Any]]], Callable[Concatenate[S, P], Coroutine[Any, Any, Result]]]:
    """As returns_result, with a code of its own for what nobody expected."""
    return lambda method: _bridge(method, code)


def _bridge(
    method: Callable[Concatenate[S, P], Awaitable[Any]], unexpected: str
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, Result]]:
    async def wrapper(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        try:
            return Result.success(data=await method(self, *args, **kwargs))
        except ModuleError as error:
            return Result.from_error(error)
        except Exception:
            logger.exception("%s failed", method.__qualname__)
            message = f"{method.__name__} failed for an unexpected reason; the log of this process has it."
            return Result.from_error(ModuleError(message, code=unexpected))

    update_wrapper(wrapper, method)
    return wrapper
