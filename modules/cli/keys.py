"""Commands about API keys."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modules.cli.local import load_settings, with_context
from modules.cli.output import AsJson, exit_codes, say, show_json, show_table
from modules.cli.tasks import DatabaseUrl

app = typer.Typer(no_args_is_help=True)


@app.command("create")
@exit_codes
def create(
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    scope: Annotated[str, typer.Option(help="read, operate or admin.")] = "read",
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown once; only its hash is stored."""

    async def work(context: Any) -> dict[str, Any]:
        made: dict[str, Any] = await context.get_service("core.scheduler.keys").create(name, scope)
        return made

    made = with_context(load_settings(database_url), work)
    if as_json:
        show_json(made)
    else:
        say(made["key"])


@app.command("list")
@exit_codes
def list_keys(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """List all keys ever made, without their secrets."""

    async def work(context: Any) -> Any:
        return await context.get_service("core.scheduler.keys").all()

    found = with_context(load_settings(database_url), work)
    if as_json:
        show_json({"keys": found})
        return
    columns = ("ID", "NAME", "PREFIX", "SCOPE", "CREATED", "EXPIRES", "REVOKED")
    names = ("id", "name", "prefix", "scope", "created_at", "expires_at", "revoked_at")
    show_table(columns, (tuple(key[name] for name in names) for key in found), empty="No keys.")


@app.command("revoke")
@exit_codes
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, from `scheduler keys list`.")],
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Refuse a key from now on."""

    async def work(context: Any) -> None:
        await context.get_service("core.scheduler.keys").revoke(key_id)

    with_context(load_settings(database_url), work)
    if as_json:
        show_json({"id": key_id, "status": "revoked"})
    else:
        say(f"Key {key_id} is revoked.")
