"""Commands about tasks and their executions."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modules.cli.local import load_settings, with_service
from modules.cli.output import AsJson, exit_codes, say, show_fields, show_json, show_table
from modules.core.clock import SystemClock
from modules.core.scheduler.module_settings import SchedulerSettings
from modules.core.scheduler.preview import preview as preview_of
from modules.core.scheduler.service import SchedulerService
from modules.core.scheduler.triggers import zone
from modules.core.scheduler.triggers.interval import every

app = typer.Typer(no_args_is_help=True)

DatabaseUrl = Annotated[
    str | None, typer.Option("--database-url", help="Default: APP_DATABASE_URL, or the embedded file.")
]
TaskId = Annotated[str, typer.Argument(help="The task's id.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="How many to show.")]
Cursor = Annotated[str | None, typer.Option(help="next_cursor of the page before.")]


@app.command("list")
@exit_codes
def list_tasks(
    status: Annotated[str | None, typer.Option(help="pending, running, paused, completed, failed, cancelled")] = None,
    module: Annotated[str | None, typer.Option(help="Only tasks of this module.")] = None,
    name: Annotated[str | None, typer.Option(help="Only tasks with this in their name.")] = None,
    recurring: Annotated[bool | None, typer.Option("--recurring/--once", help="Only these.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List tasks."""

    async def work(service: SchedulerService) -> Any:
        result = await service.list_tasks(
            status=status, module_id=module, recurring=recurring, name=name, limit=limit, cursor=cursor
        )
        return result.unwrap()

    page = with_service(load_settings(database_url), work)
    if as_json:
        show_json(page)
        return
    show_table(
        ("ID", "NAME", "STATUS", "SCHEDULE", "NEXT", "LAST", "RUNS"),
        (
            (
                task["id"],
                task["name"],
                task["status"],
                _schedule(task),
                task["next_execution"],
                task["last_execution"],
                task["execution_count"],
            )
            for task in page["tasks"]
        ),
        empty="No tasks.",
    )
    if page["next_cursor"]:
        say(f"There are more: --cursor {page['next_cursor']}")


@app.command("show")
@exit_codes
def show(task_id: TaskId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Show everything about a task."""

    async def work(service: SchedulerService) -> Any:
        return (await service.get_task(task_id)).unwrap()

    task = with_service(load_settings(database_url), work)
    if as_json:
        show_json(task)
    else:
        show_fields(task)


@exit_codes
def executions(
    task: Annotated[str | None, typer.Option(help="Only executions of this task.")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List executions, newest first."""

    async def work(service: SchedulerService) -> Any:
        return (await service.list_executions(task, limit=limit, cursor=cursor)).unwrap()

    page = with_service(load_settings(database_url), work)
    if as_json:
        show_json(page)
        return
    columns = ("ID", "TASK", "STATE", "START", "MS", "TRY", "ERROR")
    names = ("id", "task_id", "state", "start_time", "duration_ms", "attempt", "error")
    show_table(columns, (tuple(row[name] for name in names) for row in page["executions"]), empty="No executions yet.")
    if page["next_cursor"]:
        say(f"There are more: --cursor {page['next_cursor']}")


@exit_codes
def preview(
    cron: Annotated[str | None, typer.Option(help='For example "0 2 * * mon-fri".')] = None,
    interval: Annotated[str | None, typer.Option(help='For example "6 hours", "1h30m", "1 month".')] = None,
    timezone: Annotated[str | None, typer.Option(help="IANA name, for example Europe/Berlin.")] = None,
    start: Annotated[str | None, typer.Option(help="First time, ISO 8601; the anchor of intervals.")] = None,
    count: Annotated[int, typer.Option(min=1, max=100, help="How many fire times.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Show when a schedule would fire; needs no database."""
    given = {"cron_expression": cron, "interval": interval, "timezone": timezone, "schedule_time": start}
    schedule = {name: value for name, value in given.items() if value is not None}
    shown = preview_of(schedule, count, SystemClock().now(), SchedulerSettings.load().timezone)
    if as_json:
        show_json(shown)
        return
    say(shown["description"])
    show_table(
        (f"LOCAL TIME ({shown['timezone']})", "UTC"),
        (
            (fire["time"].astimezone(zone(shown["timezone"])).isoformat(" ", "seconds"), fire["time"])
            for fire in shown["fire_times"]
        ),
        empty="It never fires again.",
    )


def _schedule(task: dict[str, Any]) -> str:
    if task["cron_expression"]:
        return str(task["cron_expression"])
    return every(task["interval_value"], task["interval_type"]) if task["recurring"] else "once"
