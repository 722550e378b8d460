"""Faults put into the scheduler on purpose."""

from __future__ import annotations


def apply(name: str | None) -> None:
    assert name is None
