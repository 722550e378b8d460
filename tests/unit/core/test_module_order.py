"""In which order modules start, and what is said when there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from modules.core.app_context import AppContext
from modules.core.errors import ConfigurationError
from modules.core.module import in_start_order


@dataclass
class Stub:
    """A module that does nothing."""

    MODULE_ID: str  # the protocol's name
    DEPENDS_ON: Sequence[str] = ()

    def register(self, context: AppContext) -> None:
        """Nothing to announce."""

    async def start(self, context: AppContext) -> None:
        """Nothing to start."""

    async def stop(self, context: AppContext) -> None:
        """Nothing to stop."""


def order(*modules: Stub) -> list[str]:
    return [module.MODULE_ID for module in in_start_order(modules)]


def test_dependencies_come_first() -> None:
    """Whatever the order in APP_MODULES."""
    assert order(Stub("shop", ["billing"]), Stub("billing", ["scheduler"]), Stub("scheduler")) == [
        "scheduler",
        "billing",
        "shop",
    ]


def test_otherwise_the_order_given_is_kept() -> None:
    """Starts are the same each time."""
    assert order(Stub("c"), Stub("a"), Stub("b")) == ["c", "a", "b"]


def test_a_circle_is_named() -> None:
    """The message shows the links, so that one can be removed."""
    with pytest.raises(ConfigurationError, match=r"circle: (a -> b -> a|b -> a -> b)\. Remove one link"):
        order(Stub("a", ["b"]), Stub("b", ["a"]))


def test_a_module_that_needs_itself_is_a_circle_too() -> None:
    """The shortest one."""
    with pytest.raises(ConfigurationError, match="circle: a -> a"):
        order(Stub("a", ["a"]))


def test_an_unknown_dependency_is_refused_with_a_suggestion() -> None:
    """A misspelt id, or a package that APP_MODULES does not name."""
    with pytest.raises(
        ConfigurationError, match=r"'shop' depends on 'biling', .*Did you mean 'billing'\?.*APP_MODULES"
    ):
        order(Stub("shop", ["biling"]), Stub("billing"))


def test_two_modules_of_one_name_are_refused() -> None:
    """Rows name modules by id: it has to be one."""
    with pytest.raises(ConfigurationError, match="Two modules are called 'shop'"):
        order(Stub("shop"), Stub("shop"))


def test_no_modules_are_no_mistake() -> None:
    """An empty list is in order."""
    assert order() == []
