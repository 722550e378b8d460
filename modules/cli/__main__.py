"""`python -m modules.cli` is the `scheduler` command."""

from modules.cli.main import main

main()
