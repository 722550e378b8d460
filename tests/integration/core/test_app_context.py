"""Phase 2: the database opens, modules start in order and stop in reverse, whatever happens in between."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from modules.core.app_context import AppContext
from modules.core.errors import Unavailable
from modules.core.migrations import current_revision, head_revision
from modules.core.result import Result
from modules.core.settings import AppSettings
from tests.support.sample_modules import MakeModule, module_maker, settings_with_only

# A module that writes down what happens to it, in a list that all samples share.
RECORDING = """
from {first} import LOG

MODULE_ID = "{name}"
DEPENDS_ON = {needs}

def register(context):
    LOG.append("register {name}")

async def start(context):
    LOG.append("start {name}")
    {start}

async def stop(context):
    LOG.append("stop {name}")
    {stop}
"""


class Samples:
    """Recording modules, and their common log."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make: MakeModule = module_maker(folder, monkeypatch)
        self.first = make("sample_log", "")
        (folder / "sample_log" / "__init__.py").write_text("LOG = []\n")
        self._make = make

    def add(self, name: str, *needs: str, start: str = "pass", stop: str = "pass") -> str:
        source = RECORDING.format(first=self.first, name=name, needs=list(needs), start=start, stop=stop)
        return self._make(name, source)

    @property
    def log(self) -> list[str]:
        import sample_log  # type: ignore[import-not-found,unused-ignore]

        entries: list[str] = sample_log.LOG
        return entries


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Samples:
    return Samples(tmp_path, monkeypatch)


async def test_two_phases_forward_and_the_stop_in_reverse(samples: Samples, sqlite_url: str) -> None:
    """Everybody has registered before anybody starts; who depends on others stops before them."""
    paths = samples.add("shop", "billing"), samples.add("billing")

    async with AppContext(settings_with_only(*paths, database_url=sqlite_url)):
        pass

    assert samples.log == [
        "register billing",
        "register shop",
        "start billing",
        "start shop",
        "stop shop",
        "stop billing",
    ]


async def test_a_failed_start_stops_what_was_started(samples: Samples, sqlite_url: str) -> None:
    """The failing module too, which may be half-way up; those after it were never started."""
    paths = samples.add("a"), samples.add("b", start='raise RuntimeError("b is broken")'), samples.add("c")
    context = AppContext(settings_with_only(*paths, database_url=sqlite_url))

    with pytest.raises(RuntimeError, match="b is broken"):
        await context.start()

    assert samples.log[3:] == ["start a", "start b", "stop b", "stop a"]
    with pytest.raises(Unavailable, match="not open"):
        _ = context.database.write_engine


async def test_a_failed_stop_stops_no_other_stop(
    samples: Samples, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; the database is closed in the end."""
    paths = samples.add("a"), samples.add("b", stop='raise RuntimeError("cannot stop")')
    context = AppContext(settings_with_only(*paths, database_url=sqlite_url))
    await context.start()

    with caplog.at_level(logging.ERROR, logger="modules.core.app_context"):
        await context.stop()

    assert samples.log[-2:] == ["stop b", "stop a"]
    assert "stopping b failed" in caplog.text
    with pytest.raises(Unavailable):
        _ = context.database.read_engine


async def test_stop_may_be_called_again_and_before_start(samples: Samples, sqlite_url: str) -> None:
    """Whoever cleans up need not know how far things went."""
    context = AppContext(settings_with_only(samples.add("a"), database_url=sqlite_url))
    await context.stop()
    await context.start()
    await context.stop()
    await context.stop()

    assert samples.log == ["register a", "start a", "stop a"]


async def test_the_database_is_ready_when_modules_start(samples: Samples, database_url: str) -> None:
    """Open, and with all tables."""
    check = "async with context.database.read() as c: await c.exec_driver_sql('SELECT 1 FROM scheduler_events')"
    path = samples.add("a", start=check)

    async with AppContext(settings_with_only(path, database_url=database_url)) as context:
        assert await current_revision(context.database) == head_revision()


async def test_start_and_stop_may_be_plain_functions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_url: str
) -> None:
    """Only what awaits has to be async."""
    source = 'MODULE_ID = "a"\nLOG = []\ndef register(context): ...\ndef start(context): LOG.append(1)\n'
    path = module_maker(tmp_path, monkeypatch)("plain", source)

    async with AppContext(settings_with_only(path, database_url=sqlite_url)):
        import plain.module  # type: ignore[import-not-found,unused-ignore]

        assert plain.module.LOG == [1]


async def test_the_scheduler_is_always_there(samples: Samples, database_url: str) -> None:
    """A host's module finds its registry in phase 1 and its service afterwards."""
    path = samples.add(
        "billing", "core.scheduler", start="assert context.get_service('core.scheduler.service') is not None"
    )
    settings = AppSettings.load(database_url=database_url, modules=path)

    async with AppContext(settings) as context:
        assert context.get_service("core.scheduler.tasks") is not None
        tasks = await context.get_service("core.scheduler.service").list_tasks()
        assert isinstance(tasks, Result)
        assert tasks.success, tasks

    assert samples.log == ["register billing", "start billing", "stop billing"]
