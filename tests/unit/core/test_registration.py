"""Phase 1: modules are found and announce what they offer, without any I/O."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.core.app_context import AppContext, UnknownService
from modules.core.errors import ConfigurationError
from modules.core.settings import AppSettings
from tests.support.sample_modules import MakeModule, module_maker, settings_with_only

BILLING = """
MODULE_ID = "billing"

def register(context):
    context.register_service("billing.prices", {"chair": 10})
"""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeModule:
    return module_maker(tmp_path, monkeypatch)


def context_of(*paths: str) -> AppContext:
    context = AppContext(settings_with_only(*paths))
    context.register_modules()
    return context


def test_a_module_may_be_plain_functions(make: MakeModule) -> None:
    """MODULE_ID and register(context) at the top level of module.py; DEPENDS_ON, start and stop may be left out."""
    assert context_of(make("billing", BILLING)).get_service("billing.prices") == {"chair": 10}


def test_a_module_may_be_one_class(make: MakeModule) -> None:
    """An instance of it is the module."""
    source = """
class Billing:
    MODULE_ID = "billing"
    DEPENDS_ON = []

    def register(self, context):
        context.register_service("billing.module", self)
"""
    assert type(context_of(make("billing", source)).get_service("billing.module")).__name__ == "Billing"


def test_a_service_of_a_dependency_may_be_looked_up(make: MakeModule) -> None:
    """It has been registered by then."""
    shop = """
MODULE_ID = "shop"
DEPENDS_ON = ["billing"]

def register(context):
    context.register_service("shop.prices", context.get_service("billing.prices"))
"""
    assert context_of(make("shop", shop), make("billing", BILLING)).get_service("shop.prices") == {"chair": 10}


def test_a_service_of_anybody_else_may_not_be_looked_up_yet(make: MakeModule) -> None:
    """Even where the order of the list would allow it by luck."""
    shop = """
MODULE_ID = "shop"

def register(context):
    context.get_service("billing.prices")
"""
    with pytest.raises(UnknownService, match=r"does not depend on 'billing': add 'billing' to its DEPENDS_ON"):
        context_of(make("billing", BILLING), make("shop", shop))


def test_a_module_may_look_up_its_own_service(make: MakeModule) -> None:
    """What it registered a line before."""
    source = BILLING + '    context.register_service("billing.catalogue", [*context.get_service("billing.prices")])\n'
    assert context_of(make("billing", source)).get_service("billing.catalogue") == ["chair"]


def test_an_unknown_service_is_reported_with_what_is_known(make: MakeModule) -> None:
    """And with the nearest name."""
    context = context_of(make("billing", BILLING))

    with pytest.raises(UnknownService, match=r"no service 'billing.price'. Did you mean 'billing.prices'\?") as caught:
        context.get_service("billing.price")
    assert "Registered: billing.prices" in caught.value.message


def test_nothing_is_registered_before_phase_1() -> None:
    """The message says so."""
    with pytest.raises(UnknownService, match="Registered: none yet"):
        AppContext(settings_with_only()).get_service("core.scheduler.service")


def test_a_service_name_is_given_once(make: MakeModule) -> None:
    """Two owners of one name would be a matter of luck."""
    other = BILLING.replace('MODULE_ID = "billing"', 'MODULE_ID = "other"')

    with pytest.raises(ConfigurationError, match=r"'billing.prices' is registered already"):
        context_of(make("billing", BILLING), make("other", other))


def test_registration_runs_once(make: MakeModule) -> None:
    """create_app registers, start() comes to the same point again."""
    context = context_of(make("billing", BILLING))
    context.register_modules()
    assert context.get_service("billing.prices") == {"chair": 10}


def test_routers_are_collected_in_order(make: MakeModule) -> None:
    """The application includes them after phase 1."""
    source = """
from fastapi import APIRouter

MODULE_ID = "billing"

def register(context):
    context.add_router(APIRouter(prefix="/billing"))
"""
    assert [router.prefix for router in context_of(make("billing", source)).routers] == ["/billing"]


def test_a_missing_package_is_reported_with_the_setting(make: MakeModule) -> None:
    """APP_MODULES names what cannot be imported."""
    with pytest.raises(
        ConfigurationError, match=r"APP_MODULES names 'nowhere.to.be', but 'nowhere' cannot be imported"
    ):
        context_of("nowhere.to.be")


def test_an_import_that_fails_inside_a_module_is_not_hidden(make: MakeModule) -> None:
    """It is the module's own mistake: its own traceback tells more."""
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_missing"):
        context_of(make("billing", "import a_library_that_is_missing\n" + BILLING))


@pytest.mark.parametrize("source", ["", "MODULE_ID = 'billing'\n", "class A:\n    MODULE_ID = 'a'\n"])
def test_a_module_file_without_a_module_is_refused(source: str, make: MakeModule) -> None:
    """The message says what it must hold."""
    with pytest.raises(ConfigurationError, match=r"billing.module must hold MODULE_ID and register\(context\)"):
        context_of(make("billing", source))


def test_dependencies_are_a_list(make: MakeModule) -> None:
    """A lone string would be read letter by letter."""
    with pytest.raises(ConfigurationError, match=r"DEPENDS_ON of billing.module must be a list"):
        context_of(make("billing", BILLING + '\nDEPENDS_ON = "core.scheduler"\n'))


def test_registration_is_not_asynchronous(make: MakeModule) -> None:
    """A coroutine would never be awaited; async work belongs in start."""
    with pytest.raises(ConfigurationError, match=r"billing: register\(context\) must not be async"):
        context_of(make("billing", BILLING.replace("def register", "async def register")))


def test_a_modules_settings_from_code_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppSettings.module_settings, then the environment."""
    from modules.core.scheduler.module_settings import SchedulerSettings

    monkeypatch.setenv("CORE_SCHEDULER_LEASE_SECONDS", "45")
    from_environment = AppContext(AppSettings.load())
    from_code = AppContext(AppSettings.load(module_settings={"core.scheduler": {"lease_seconds": 50}}))

    assert from_environment.module_settings("core.scheduler", SchedulerSettings).lease_seconds == 45
    assert from_code.module_settings("core.scheduler", SchedulerSettings).lease_seconds == 50


def test_each_context_is_a_session_of_its_own() -> None:
    """Executions of two runs can be told apart."""
    assert AppContext(settings_with_only()).session_id != AppContext(settings_with_only()).session_id
