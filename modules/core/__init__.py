"""The host core: settings, database, clock, application context, and the modules that every application gets."""
