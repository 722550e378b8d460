"""The `scheduler` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the `scheduler` script, which is there even where what the command needs is not."""
    try:
        from modules.cli.commands import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich", "uvicorn"):
            raise
        sys.exit(f"The command needs {error.name}, which is not installed: pip install 'core-scheduler[server]'.")
    app()
