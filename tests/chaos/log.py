"""Logs that survive kill -9: one line of JSON by one write to a file opened with O_APPEND, so that lines never mix."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from tests.chaos.evidence import Call, Line

RUNS = "runs.jsonl"
CALLS = "calls.jsonl"


class Log(Protocol):
    """Takes lines of named values."""

    def write(self, **content: Any) -> None: ...


class InMemory(list[dict[str, Any]]):
    """The same log where there is one process only, and nobody dies."""

    def write(self, **content: Any) -> None:
        self.append(content)


class AppendOnly:
    """A file that several processes write to."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, **content: Any) -> None:
        os.write(self._descriptor, (json.dumps(content) + "\n").encode())

    def close(self) -> None:
        os.close(self._descriptor)


class CallLog:
    """Who asked what of the service, and what they were told; each call is two lines."""

    def __init__(self, log: Log, asker: str) -> None:
        self._log = log
        self._asker = asker
        self._numbers = itertools.count(1)

    def asked(self, what: str, task_id: str | None, now: datetime, detail: int | None = None) -> str:
        """Write it down before the call; returns the call's name for `answered`."""
        call = f"{self._asker}-{next(self._numbers)}"
        self._log.write(call=call, what=what, task=task_id, asked=now.isoformat(), detail=detail)
        return call

    def answered(
        self, call: str, now: datetime, answer: bool | None, task_id: str | None, detail: str | int | None = None
    ) -> None:
        """Write it down as soon as the answer is there. `answer`: yes, no, or None where the outcome is not known."""
        self._log.write(call=call, answered=now.isoformat(), answer=answer, task=task_id, detail=detail)


def contents(path: Path) -> Iterator[dict[str, Any]]:
    """What was written to a file."""
    if path.exists():
        for line in path.read_text().splitlines():
            yield json.loads(line)


def lines_of(written: Iterable[dict[str, Any]]) -> list[Line]:
    """What the task functions wrote."""
    return [
        Line(
            what=content["what"],
            at=datetime.fromisoformat(content["at"]),
            task_id=content["task"],
            execution_id=content["execution"],
            scheduled_for=datetime.fromisoformat(content["scheduled_for"]),
            attempt=content["attempt"],
            fence=content["fence"],
            node_id=content["node"],
            process=content["process"],
            how=content.get("how"),
        )
        for content in written
    ]


def calls_of(written: Iterable[dict[str, Any]]) -> list[Call]:
    """What was asked and answered; a call without an answer is one of which nobody knows."""
    asked: dict[str, dict[str, Any]] = {}
    for content in written:
        known = {name: value for name, value in content.items() if value is not None}
        asked.setdefault(content["call"], {}).update(known)
    return [
        Call(
            what=content["what"],
            task_id=content.get("task"),
            asked=datetime.fromisoformat(content["asked"]),
            answered=datetime.fromisoformat(content["answered"]) if "answered" in content else None,
            answer=content.get("answer"),
            detail=content.get("detail"),
        )
        for content in asked.values()
    ]
