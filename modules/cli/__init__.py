"""The `scheduler` command."""

from modules.cli.main import app, main

__all__ = ["app", "main"]
