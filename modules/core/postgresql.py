"""PostgreSQL's engine: what every connection is told, or every transaction where a pooler stands between."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import URL, Engine, ExceptionContext, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from modules.core.database_errors import is_out_of_step

Pooler = Literal["none", "transaction"]

STATEMENT_TIMEOUT = "30s"
LOCK_TIMEOUT = "10s"
# A server that has gone away without a word is noticed within half a minute. Parameters in the URL win.
_CONNECT_ARGUMENTS: dict[str, dict[str, Any]] = {
    "psycopg": {
        "connect_timeout": 10,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,  # milliseconds
    },
    "asyncpg": {"timeout": 10, "command_timeout": 60},
}
# Behind a pooler the next transaction may have another server, which has not prepared what this one has.
_NOTHING_PREPARED: dict[str, dict[str, Any]] = {
    "psycopg": {"prepare_threshold": None},
    "asyncpg": {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: "",
    },
}


def postgresql_engine(url: URL, pooler: Pooler) -> AsyncEngine:
    """An engine whose statements have their limits in time. Connects to nothing yet."""
    driver = url.get_driver_name()
    arguments = {name: value for name, value in _CONNECT_ARGUMENTS[driver].items() if name not in url.query}
    if pooler == "transaction":
        arguments |= _NOTHING_PREPARED[driver]
    engine = create_async_engine(
        url, pool_size=8, max_overflow=8, pool_pre_ping=True, pool_timeout=30, connect_args=arguments
    )
    if pooler == "transaction":
        _set_for_each_transaction(engine.sync_engine)
    else:
        _set_for_each_connection(engine.sync_engine)

    @event.listens_for(engine.sync_engine, "handle_error")
    def _broken(context: ExceptionContext) -> None:
        if is_out_of_step(context.original_exception):
            context.is_disconnect = True  # the pool must not hand it out again

    return engine


def _set_for_each_connection(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        cursor.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        cursor.execute("SET TIME ZONE 'UTC'")
        # A plan that is kept knows neither how full the tables have become since, nor how long the arrays are.
        cursor.execute("SET plan_cache_mode = force_custom_plan")
        cursor.close()
        connection.commit()


def _set_for_each_transaction(engine: Engine) -> None:
    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        settings = {"statement_timeout": STATEMENT_TIMEOUT, "lock_timeout": LOCK_TIMEOUT, "TimeZone": "UTC"}
        calls = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
        connection.exec_driver_sql(f"SELECT {calls}")
