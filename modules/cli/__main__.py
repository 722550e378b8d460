"""`python -m modules.cli` is the `scheduler` command."""

from modules.cli import main

main()
