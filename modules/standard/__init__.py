"""Example modules: the scheduler's documentation made real. They load only with `scheduler serve --examples`."""
