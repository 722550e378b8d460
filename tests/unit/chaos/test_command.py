"""The command fails when an invariant is broken, and keeps the logs then."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.chaos import __main__ as command
from tests.chaos.evidence import Evidence
from tests.chaos.run import Place, Plan
from tests.unit.chaos.story import Story


@pytest.mark.parametrize(("broken", "status"), [(False, 0), (True, 1)])
def test_the_exit_status_says_whether_an_invariant_was_broken(
    broken: bool,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def given(plan: Plan, place: Place) -> Evidence:
        assert (plan.database, plan.kills, plan.seed) == ("sqlite", 3, 7)
        story = Story()
        if broken:
            story.call(0, "schedule", "nobody has ever seen it")
        return story.evidence()

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["chaos", "--kills", "3", "--database", "sqlite", "--seed", "7"])
    monkeypatch.setattr(command, "run", given)
    assert command.main() == status
    told = capsys.readouterr().out
    assert f"{status} invariants broken" in told
    assert ("an_answered_call_survives: 1" in told) == broken
    assert (f"logs: {tmp_path}" in told) == broken
    assert len(list(tmp_path.iterdir())) == status
