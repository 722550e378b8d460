"""Settings: from code, then the environment, then .env; what cannot be used stops the start and is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from modules.core.errors import ConfigurationError
from modules.core.settings import AppSettings, ModuleSettings

SCHEDULER = "modules.core.scheduler"


class PrinterSettings(ModuleSettings):
    """A module's settings, as a host would write them."""

    model_config = SettingsConfigDict(env_prefix="CORE_PRINTER_")

    pages: int = Field(default=10, ge=1, description="Pages of one batch")
    paper: str = Field(default="A4", description="Size of the paper")
    tray: int | None = None


def test_defaults_need_nothing() -> None:
    """The scheduler alone, a SQLite file in ./data, migrated at start."""
    settings = AppSettings.load()

    assert settings.modules == (SCHEDULER,)
    assert settings.effective_database_url == f"sqlite+aiosqlite:///{Path.cwd() / 'data' / 'scheduler.sqlite3'}"
    assert settings.auto_migrate
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)


def test_there_is_one_way_to_the_data_folder() -> None:
    """Whoever is handed the path later need not know what "~" and ".." meant."""
    assert AppSettings.load(data_dir="../data").data_dir == Path.cwd().parent / "data"
    assert AppSettings.load(data_dir="~/sched").data_dir == Path.home() / "sched"
    assert AppSettings.load(data_dir="/a/../b").data_dir == Path("/b")


def test_the_embedded_database_lies_in_data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moving the folder moves the database."""
    monkeypatch.setenv("APP_DATA_DIR", "/srv/app")

    assert AppSettings.load().effective_database_url == "sqlite+aiosqlite:////srv/app/scheduler.sqlite3"


def test_a_url_wins_over_the_embedded_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """APP_DATABASE_URL alone moves everything to PostgreSQL."""
    monkeypatch.setenv("APP_DATABASE_URL", "postgresql://db/app")

    assert AppSettings.load().effective_database_url == "postgresql://db/app"


def test_code_wins_over_the_environment_and_that_over_dotenv(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of precedence, one step at a time."""
    Path(".env").write_text("APP_PORT=9001\nAPP_HOST=from.dotenv\nAPP_LOG_LEVEL=error\n")
    monkeypatch.setenv("APP_PORT", "9002")
    monkeypatch.setenv("APP_HOST", "from.environment")

    settings = AppSettings.load(port=9003)

    assert settings.port == 9003
    assert settings.host == "from.environment"
    assert settings.log_level == "error"


@pytest.mark.parametrize("text", ["billing,shop.reports", " billing , shop.reports ,", '["billing", "shop.reports"]'])
def test_modules_are_comma_separated(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler always comes first; a JSON list is understood too."""
    monkeypatch.setenv("APP_MODULES", text)

    assert AppSettings.load().modules == (SCHEDULER, "billing", "shop.reports")


def test_modules_come_once_each() -> None:
    """Naming the scheduler, or a module twice, changes nothing."""
    assert AppSettings.load(modules=("billing", SCHEDULER, "billing")).modules == (SCHEDULER, "billing")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("APP_PORT", "eighty"), ("APP_PORT", "65536"), ("APP_SQLITE_SYNCHRONOUS", "OFF"), ("APP_AUTO_MIGRATE", "perhaps")],
)
def test_a_wrong_value_is_reported_with_its_variable(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names what to mend."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError, match=variable):
        AppSettings.load()


def test_a_wrong_value_in_dotenv_is_reported_too() -> None:
    """The file is configuration as much as the environment is."""
    Path(".env").write_text("APP_PORT=eighty\n")

    with pytest.raises(ConfigurationError, match="APP_PORT"):
        AppSettings.load()


def test_all_wrong_values_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to start four times to find four mistakes."""
    monkeypatch.setenv("APP_PORT", "eighty")
    monkeypatch.setenv("APP_LOG_LEVEL", "loud")

    with pytest.raises(ConfigurationError, match=r"(?s)APP_PORT.*APP_LOG_LEVEL"):
        AppSettings.load()


def test_an_unknown_name_in_code_is_refused_with_a_suggestion() -> None:
    """A misspelt option is not an option."""
    with pytest.raises(ConfigurationError, match="Did you mean 'database_url'"):
        AppSettings.load(databse_url="sqlite:///x")


def test_other_variables_with_the_applications_prefix_are_the_hosts_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """APP_ is too common a prefix to claim."""
    monkeypatch.setenv("APP_THEME", "dark")
    Path(".env").write_text("APP_SECRET=x\nOTHER=1\n")

    assert AppSettings.load().port == 8000


def test_settings_do_not_change() -> None:
    """What was checked at start stays what it was."""
    with pytest.raises(ValueError, match="frozen"):
        AppSettings.load().port = 1


def test_a_modules_settings_come_from_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """CORE_<MODULE>_<NAME>, in any case of letters."""
    monkeypatch.setenv("CORE_PRINTER_PAGES", "3")
    monkeypatch.setenv("core_printer_paper", "A5")

    assert PrinterSettings.load() == PrinterSettings(pages=3, paper="A5")


def test_an_unknown_variable_with_a_modules_prefix_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a misspelt setting; the message names the nearest one."""
    monkeypatch.setenv("CORE_PRINTER_PAGE", "3")

    with pytest.raises(
        ConfigurationError, match=r"CORE_PRINTER_PAGE is not a setting\. Did you mean 'CORE_PRINTER_PAGES'"
    ):
        PrinterSettings.load()


def test_an_unknown_variable_in_dotenv_is_refused() -> None:
    """The same for the file; variables of others in it are none of our business."""
    Path(".env").write_text("DJANGO_DEBUG=1\nCORE_PRINTER_INK=black\n")

    with pytest.raises(ConfigurationError, match="CORE_PRINTER_INK is not a setting"):
        PrinterSettings.load()


def test_a_modules_wrong_value_is_reported_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds are checked at start, not when the value is first used."""
    monkeypatch.setenv("CORE_PRINTER_PAGES", "0")

    with pytest.raises(ConfigurationError, match="CORE_PRINTER_PAGES: Input should be greater than or equal to 1"):
        PrinterSettings.load()


def test_describe_lists_every_setting() -> None:
    """Type, default and description: what settings pages and the reference are made from."""
    described = PrinterSettings.describe()

    assert described["pages"] == {"type": "int", "default": 10, "description": "Pages of one batch"}
    assert set(described) == {"pages", "paper", "tray"}
    assert "int" in described["tray"]["type"]
