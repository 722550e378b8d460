"""Commands that answer what became of a task's fire times."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modules.cli.local import load_settings, with_service
from modules.cli.output import AsJson, exit_codes, say, show_json, show_table
from modules.cli.tasks import Cursor, DatabaseUrl, Limit, TaskId
from modules.core.scheduler.service import SchedulerService


@exit_codes
def occurrences(
    task_id: TaskId,
    since: Annotated[
        str | None, typer.Option("--from", help="First fire time, ISO 8601; without offset, in the task's timezone.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Last fire time; default: now, and the next one.")] = None,
    oldest: Annotated[bool, typer.Option("--oldest", help="Oldest first.")] = False,
    expand: Annotated[bool, typer.Option("--expand", help="Spans as single fire times.")] = False,
    limit: Limit = 20,
    cursor: Cursor = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show each fire time of a task with what became of it, newest first."""

    async def work(service: SchedulerService) -> Any:
        result = await service.occurrences(
            task_id, since, until, limit=limit, cursor=cursor, newest_first=not oldest, expand=expand
        )
        return result.unwrap()

    page = with_service(load_settings(database_url), work)
    if as_json:
        show_json(page)
        return
    show_ledger(page["occurrences"])
    if page["next_cursor"]:
        say(f"There are more: --cursor {page['next_cursor']}")


def show_ledger(entries: list[dict[str, Any]]) -> None:
    """Entries of a ledger as a table."""
    show_table(
        ("FIRE TIME", "UNTIL", "TIMES", "VERDICT", "WHY", "TRIES", "ENDED AS", "START", "END"),
        (
            (
                entry["from_time"],
                entry["until_time"] if entry["count"] > 1 else None,
                entry["count"],
                entry["verdict"] if entry["kind"] == "schedule" else f"{entry['verdict']} ({entry['kind']})",
                entry["detail"] or entry["reason"],
                len(entry["attempts"]) or None,
                *_last_attempt(entry["attempts"]),
            )
            for entry in entries
        ),
        empty="No fire times.",
    )


def _last_attempt(attempts: list[dict[str, Any]]) -> tuple[Any, Any, Any]:
    if not attempts:
        return None, None, None
    last = attempts[-1]
    ended_as = f"{last['state']} ({last['error_type']})" if last["error_type"] else last["state"]
    return ended_as, last["start_time"], last["end_time"]
