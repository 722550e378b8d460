"""The peers: which version of each, what it keeps of a run, and where its two settings differ."""

from __future__ import annotations

from dataclasses import dataclass

PSYCOPG = "psycopg[binary]==3.3.9"
ASYNCPG = "asyncpg==0.32.0"
SQLALCHEMY = "sqlalchemy[asyncio]==2.0.44"


@dataclass(frozen=True)
class Peer:
    """A library to compare with; `peers/<name>.py` runs it. `requirements` are pip's, `keeps` is for the reader."""

    name: str
    title: str
    databases: tuple[str, ...]
    requirements: tuple[str, ...]
    keeps: str
    best: str
    default: str


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "tinyjobs",
            "tinyjobs",
            ("sqlite",),
            # 0.6.0 is the last one for Python 3.11; everything here runs with one interpreter.
            ('tinyjobs==0.7.1; python_version >= "3.12"', 'tinyjobs==0.6.0; python_version < "3.12"'),
            "a row for every attempt, as we do; SQLite at synchronous NORMAL, always",
            "500 jobs at a time, polls every 1 to 5 ms, no sweeps, no cron",
            "8 jobs at a time, polls every 5 to 500 ms",
        ),
        Peer(
            "huey",
            "huey",
            ("sqlite",),
            ("huey==3.5.4",),
            "nothing: a row is deleted when a worker takes it, before it runs (at most once, no history)",
            "one worker thread, polls every 1 to 5 ms, synchronous NORMAL",
            "one worker thread, polls every 100 ms and more, synchronous FULL",
        ),
        Peer(
            "apscheduler3",
            "APScheduler 3",
            ("sqlite", "postgresql"),
            ("apscheduler==3.11.3", SQLALCHEMY, PSYCOPG),
            "nothing: a row is deleted before its job runs (at most once, no history)",
            "SQLite in WAL mode at NORMAL; no misfire grace time, else it drops what is a second late",
            "SQLite's rollback journal at FULL; no misfire grace time either",
        ),
        Peer(
            "apscheduler4",
            "APScheduler 4 alpha",
            ("sqlite", "postgresql"),
            ("apscheduler==4.0.0a6", "sniffio==1.3.1", SQLALCHEMY, "aiosqlite==0.21.0", ASYNCPG),
            "nothing: a job's row is deleted when it has ended (results are kept only where asked for)",
            "1,000 jobs at a time, SQLite in WAL mode at NORMAL",
            "100 jobs at a time, SQLite's rollback journal",
        ),
        Peer(
            "pgqueuer",
            "PGQueuer",
            ("postgresql",),
            ("pgqueuer==1.6.0", ASYNCPG),
            "a log row for every change of state; the job's own row is deleted at its end",
            "uvloop, asyncpg, batches of 200",
            "uvloop, asyncpg, batches of 10",
        ),
        Peer(
            "chancy",
            "chancy",
            ("postgresql",),
            ("chancy==0.26.0", PSYCOPG),
            "one row for all attempts of a job, with start, end and errors",
            "asyncio executor, 1,000 at a time, polls after every job, outcomes written every 50 ms",
            "a pool of processes, polls every 5 s: 10 no-ops take 20 s, so that run is left out",
        ),
        Peer(
            "procrastinate",
            "procrastinate",
            ("postgresql",),
            ("procrastinate==3.10.0", PSYCOPG),
            "the job's row, and an event row for every change of state",
            "100 jobs at a time, 20 connections",
            "one job at a time",
        ),
        Peer(
            "pg_scheduler",
            "pg-scheduler",
            ("postgresql",),
            ("pg-scheduler==0.2.3", ASYNCPG),
            "the job's row with its last state; no start, no end, no row for each attempt",
            "500 jobs at a time, claimed by 500, polls every 1 to 5 ms, 20 connections",
            "25 jobs at a time, claimed by 10, polls every 50 to 2,000 ms",
        ),
    )
}
