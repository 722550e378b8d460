"""Commands about nodes: the processes that dispatch."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modules.cli.local import load_settings, with_service
from modules.cli.output import AsJson, exit_codes, say, show_json, show_table
from modules.cli.tasks import DatabaseUrl
from modules.core.scheduler.service import SchedulerService

app = typer.Typer(no_args_is_help=True)

NodeId = Annotated[str, typer.Argument(help="The node's id, as `scheduler nodes list` shows it.")]


@app.command("list")
@exit_codes
def list_nodes(database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """List the processes that dispatch, and how each is."""

    async def work(service: SchedulerService) -> Any:
        return (await service.list_nodes()).unwrap()

    found = with_service(load_settings(database_url), work)
    if as_json:
        show_json(found)
        return
    show_table(
        ("ID", "STATE", "HOST", "PID", "RUNNING", "SLOTS", "HEARTBEAT", "CLOCK MS", "VERSION"),
        (
            (
                node["id"],
                _state(node),
                node["host"],
                node["pid"],
                node["running"],
                node["slots"],
                node["heartbeat_at"],
                node["clock_offset_ms"],
                node["version"],
            )
            for node in found["nodes"]
        ),
        empty="No node is on the list: start one with `scheduler serve`.",
    )


@app.command("drain")
@exit_codes
def drain(node_id: NodeId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Let a node take on nothing more; what it runs goes on. It lasts until `resume`, or until that process ends."""

    async def work(service: SchedulerService) -> Any:
        return (await service.drain_node(node_id)).unwrap()

    asked = with_service(load_settings(database_url), work)
    if as_json:
        show_json(asked)
    else:
        say(f"Node {node_id} takes on nothing more. What it runs goes on: see RUNNING in `scheduler nodes list`.")


@app.command("resume")
@exit_codes
def resume(node_id: NodeId, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Let a drained node take on work again."""

    async def work(service: SchedulerService) -> Any:
        return (await service.resume_node(node_id)).unwrap()

    asked = with_service(load_settings(database_url), work)
    if as_json:
        show_json(asked)
    else:
        say(f"Node {node_id} takes on work again.")


def _state(node: dict[str, Any]) -> str:
    waits = node["drain_requested"] and node["state"] == "running"
    return "running (asked to drain)" if waits else str(node["state"])
