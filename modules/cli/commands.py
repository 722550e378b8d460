"""The tree of commands. Exit codes: 0 done, 1 failed, 2 invalid, 3 not found, 4 wrong state, 5 wrongly set up."""

from __future__ import annotations

from typing import Annotated

import typer

from modules.cli import checks, control, keys, ledger, nodes, serve, storage, tasks
from modules.core.scheduler.node_service import package_version

app = typer.Typer(
    name="scheduler",
    help="Durable tasks and housekeeping. Settings: options, then APP_... and CORE_SCHEDULER_... variables, then .env.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
for command in (control.run, control.edit, control.pause, control.resume, control.cancel):
    tasks.app.command()(command)
app.add_typer(tasks.app, name="tasks", help="List, show and control tasks.")
tasks.app.command("occurrences")(ledger.occurrences)
app.command("executions")(tasks.executions)
app.command("preview")(tasks.preview)
app.add_typer(storage.cleanup_app, name="cleanup", help="List and run cleanups.")
app.add_typer(storage.db_app, name="db", help="The database's schema.")
app.add_typer(nodes.app, name="nodes", help="The processes that dispatch.")
app.add_typer(keys.app, name="keys", help="API keys.")
app.command("check")(checks.check)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(package_version())
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Durable tasks and housekeeping."""
