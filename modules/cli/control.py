"""Commands that change tasks and make them run."""

from __future__ import annotations

import getpass
from datetime import datetime
from itertools import zip_longest
from typing import Annotated, Any

import typer

from modules.cli.local import load_settings, with_context
from modules.cli.output import AsJson, exit_codes, say, show_json, show_table
from modules.cli.tasks import DatabaseUrl, TaskId
from modules.core.result import Result
from modules.core.scheduler.json_gate import InvalidBody, parse_strictly
from modules.core.scheduler.service import SchedulerService


@exit_codes
def run(
    task_id: TaskId,
    parameters: Annotated[
        str | None, typer.Option(help='JSON object; its keys replace the task\'s own, for this run: {"format": "csv"}')
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Run a task now. A running `scheduler serve` takes it on at its next look at the database."""
    given = None if parameters is None else json_object(parameters, "--parameters")
    started = _control(
        database_url,
        lambda service: service.execute_task(task_id, given, actor=_user()),
        all_modules=given is not None,  # the function that says what its parameters are
    )
    _answer(started, f"Execution {started['execution_id']} will be started by a running server.", as_json)


@exit_codes
def edit(
    task_id: TaskId,
    changes: Annotated[str, typer.Argument(help='JSON object of the fields to change: {"interval": "20 minutes"}')],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Change fields of a task; a new schedule fires at future times only."""
    given = json_object(changes, "CHANGES")
    edited = _control(
        database_url,
        lambda service: service.update_task(task_id, given, dry_run=dry_run),
        all_modules="parameters" in given,
    )
    if as_json or not dry_run:
        _answer(edited, f"Task {task_id} is changed.", as_json)
        return
    show_table(
        ("FIELD", "OLD", "NEW"),
        ((change["field"], change["old"], change["new"]) for change in edited["changes"]),
        empty="Nothing would change.",
    )
    show_table(
        ("FIRES SO FAR", "WOULD FIRE"),
        zip_longest(edited["fire_times"]["old"], edited["fire_times"]["new"]),
        empty="It has no fire time left, and would have none.",
    )
    for span in edited["missed"]:
        say(f"{span['count']} fire times up to {span['until_time'].isoformat()} would be missed ({span['reason']}).")


@exit_codes
def pause(
    task_id: TaskId,
    reason: Annotated[str | None, typer.Option(help="Shown with the task.")] = None,
    until: Annotated[
        str | None, typer.Option(help="When it resumes by itself, ISO 8601; without an offset, local time.")
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Hold a task until it is resumed, or until a time."""
    paused = _control(database_url, lambda service: service.pause_task(task_id, reason, until=until, actor=_user()))
    _answer(paused, f"Task {task_id} is paused{_until(paused.get('until'))}.", as_json)


@exit_codes
def resume(
    task_id: TaskId,
    catch_up: Annotated[str, typer.Option(help="none, or latest: run the newest fire time that was missed.")] = "none",
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Let a paused task go on."""
    resumed = _control(database_url, lambda service: service.resume_task(task_id, catch_up=catch_up))
    _answer(resumed, f"Task {task_id} goes on.", as_json)


@exit_codes
def cancel(task_id: TaskId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Cancel a task for good; its history stays."""
    cancelled = _control(database_url, lambda service: service.cancel_task(task_id))
    _answer(cancelled, f"Task {task_id} is cancelled.", as_json)


def json_object(text: str, option: str) -> dict[str, Any]:
    """What an option holds, read as strictly as a body of the REST API. Raises Invalid."""
    try:
        value = parse_strictly(text.encode("utf-8", "surrogateescape"))
    except InvalidBody as error:
        raise InvalidBody(f"{option}: {error.message}") from error
    if not isinstance(value, dict):
        raise InvalidBody(f'{option} must be a JSON object such as {{"format": "csv"}}.')
    return value


def _control(database_url: str | None, action: Any, *, all_modules: bool = False) -> dict[str, Any]:
    async def work(service: SchedulerService) -> dict[str, Any]:
        result: Result = await action(service)
        data: dict[str, Any] = result.unwrap()
        return data

    return with_context(
        load_settings(database_url),
        lambda context: work(context.get_service("core.scheduler.service")),
        all_modules=all_modules,
    )


def _answer(data: dict[str, Any], sentence: str, as_json: bool) -> None:
    if as_json:
        show_json(data)
    else:
        say(sentence)


def _until(moment: datetime | None) -> str:
    return f" until {moment.isoformat()}" if moment else ""


def _user() -> str | None:
    """Who sits at the command line; None where the system does not know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return None
