"""The framework's modules: `core` is the host and its scheduler, `standard` holds the example modules."""
