"""Commands about the database's schema and about cleanups."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modules.cli.local import load_settings, refuse_missing_file, with_context, with_database, with_service
from modules.cli.output import FAILED, AsJson, exit_codes, say, show_json, show_table
from modules.cli.tasks import DatabaseUrl
from modules.core.database import Database
from modules.core.migrations import current_revision, head_revision, migrate
from modules.core.scheduler.service import SchedulerService

db_app = typer.Typer(no_args_is_help=True)
cleanup_app = typer.Typer(no_args_is_help=True)


@db_app.command("upgrade")
@exit_codes
def upgrade(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Bring the schema up to date; safe to run again, and by several nodes at once."""
    revision = with_database(load_settings(database_url), migrate)
    if as_json:
        show_json({"revision": revision})
    else:
        say(f"The database is at {revision}.")


@db_app.command("check")
@exit_codes
def check(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Say whether the schema is up to date; exit code 1 when it is not."""

    async def work(database: Database) -> dict[str, Any]:
        return {"revision": await current_revision(database), "needed": head_revision()}

    settings = load_settings(database_url)
    refuse_missing_file(settings)
    found = with_database(settings, work)
    up_to_date = found["revision"] == found["needed"]
    if as_json:
        show_json(found | {"up_to_date": up_to_date})
    elif up_to_date:
        say(f"The database is at {found['revision']}, as it should be.")
    else:
        say(f"The database is at {found['revision'] or 'nothing'}, {found['needed']} is needed: scheduler db upgrade")
    if not up_to_date:
        raise typer.Exit(FAILED)


@cleanup_app.command("list")
@exit_codes
def list_cleanups(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """List the registered cleanups."""

    async def work(service: SchedulerService) -> Any:
        return await service.housekeeper.cleanups()

    cleanups = with_service(load_settings(database_url), work)
    if as_json:
        show_json({"cleanups": cleanups})
        return
    show_table(
        ("ID", "MODULE", "TYPE", "ON", "LAST RUN", "DELETED", "NEXT RUN"),
        (
            (
                cleanup["id"],
                cleanup["module_id"],
                cleanup["cleanup_type"],
                cleanup["enabled"],
                cleanup["last_run"],
                (cleanup["last_report"] or {}).get("deleted"),
                cleanup["next_run"],
            )
            for cleanup in cleanups
        ),
        empty="No cleanups are registered.",
    )


@cleanup_app.command("run")
@exit_codes
def run_cleanup(
    cleanup_type: Annotated[str | None, typer.Argument(help="Only cleanups of this type.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing; say what would go.")] = False,
    examples: Annotated[bool, typer.Option("--examples", help="With the targets of the example modules.")] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Run cleanups now, in this process; exit code 1 when one fails."""

    async def work(context: Any) -> Any:
        service: SchedulerService = context.get_service("core.scheduler.service")
        return (await service.run_cleanup(cleanup_type, dry_run=dry_run)).unwrap()

    done = with_context(load_settings(database_url, examples=examples), work, all_modules=True)
    if as_json:
        show_json(done)
    else:
        show_table(
            ("MODULE", "TYPE", "MATCHED", "DELETED", "BYTES", "ERROR"),
            (
                (
                    report["module_id"],
                    report["cleanup_type"],
                    report.get("matched"),
                    report.get("deleted"),
                    report.get("bytes"),
                    report.get("error", {}).get("message"),
                )
                for report in done["reports"]
            ),
            empty="No cleanups are registered.",
        )
    if done["failed"]:
        raise typer.Exit(FAILED)
