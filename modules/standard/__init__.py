"""Example modules: the specification's own examples made real. They load only with `scheduler serve --examples`."""
