"""Cron expressions read and checked. cronsim knows the dialect; where it refuses without a reason, we advise."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, NamedTuple

from cronsim import CronSim, CronSimError

from modules.core.errors import did_you_mean
from modules.core.scheduler.triggers.errors import InvalidTrigger, shown

LONGEST: Final = 200
ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
EXAMPLE: Final = "'0 2 * * mon-fri'"


class _Field(NamedTuple):
    name: str
    lowest: int
    highest: int
    words: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return self.highest - self.lowest + 1

    def number(self, text: str) -> int | None:
        """The number that this digit or name stands for."""
        if text in self.words:
            return self.words.index(text) + self.lowest
        return int(text) if text.isdecimal() and len(text) < 5 else None


_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day-of-month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day-of-week", 0, 6, _DAYS),
)
_RANGE = re.compile(r"([a-z0-9]+)-([a-z0-9]+)(?:/([0-9]{1,3}))?")
_STEP = re.compile(r"/([0-9]+)")
_WORD = re.compile(r"[a-z]+")


def fields_of(expression: str) -> tuple[str, str, str, str, str]:
    """The five fields in lower case, aliases written out. Raises InvalidTrigger for what is no cron expression."""
    if not isinstance(expression, str) or not expression.strip():
        raise InvalidTrigger(f"cron_expression must be text with five fields, such as {EXAMPLE}.")
    if len(expression) > LONGEST:
        raise InvalidTrigger(f"cron_expression is too long: at most {LONGEST} characters.")
    text = expression.strip().lower()
    if text.startswith("@"):
        text = _alias(text)
    fields = text.split()
    if len(fields) >= 6:
        raise InvalidTrigger(
            f"{shown(expression)} has {len(fields)} fields, not five: seconds are not supported yet, nor years. Leave "
            "them out, or use interval_type 'seconds'; lists are written without spaces."
        )
    if len(fields) < 5:
        raise InvalidTrigger(
            f"{shown(expression)} has {len(fields)} fields, not five: write minute, hour, day of month, month and day "
            f"of week, such as {EXAMPLE}."
        )
    for text, field in zip(fields, _FIELDS, strict=True):
        _refuse_backwards(text, field)
        _refuse_long_steps(text, field)
    _refuse_unreadable(fields, expression)
    return fields[0], fields[1], fields[2], fields[3], fields[4]


def _alias(text: str) -> str:
    if text == "@reboot":
        raise InvalidTrigger("'@reboot' is not supported yet: schedule the task when your application starts.")
    if text not in ALIASES:
        hint = did_you_mean(text[:20], ALIASES)
        raise InvalidTrigger(f"{shown(text)} is no alias.{hint} Use one of {', '.join(ALIASES)}, or five fields.")
    return ALIASES[text]


def _refuse_long_steps(text: str, field: _Field) -> None:
    """`*/90` minutes is minute 0 of every hour in cron, which nobody means who writes it."""
    for step in _STEP.findall(text):
        if len(step) > 4 or int(step) > field.size:
            raise InvalidTrigger(
                f"{shown(text)}: a step in the {field.name} field is at most {field.size}. For a longer period use "
                "interval, such as '90 minutes'."
            )


def _refuse_backwards(text: str, field: _Field) -> None:
    """`22-2` means nothing in cron; the advice is computed, `22-23,0-2`."""
    for match in _RANGE.finditer(text):
        begin, end, step = field.number(match[1]), field.number(match[2]), int(match[3] or 1)
        if begin is None or end is None or begin <= end:
            continue
        if field.words == _DAYS and begin == field.size:
            begin = field.lowest  # Sunday by its other number
        if not field.lowest <= end <= field.highest or not field.lowest <= begin <= field.highest or not step:
            continue
        raise InvalidTrigger(
            f"{match[0]!r} in the {field.name} field runs backwards: write '{_ascending(begin, end, step, field)}'."
        )


def _ascending(begin: int, end: int, step: int, field: _Field) -> str:
    if begin <= end:
        return f"{begin}-{end}" + (f"/{step}" if step > 1 else "")
    if step > 1:
        times = range(begin, end + field.size + 1, step)
        return ",".join(str((number - field.lowest) % field.size + field.lowest) for number in times)
    upper = f"{begin}-{field.highest}" if begin < field.highest else f"{begin}"
    lower = f"{field.lowest}-{end}" if end > field.lowest else f"{field.lowest}"
    return f"{upper},{lower}"


def _refuse_unreadable(fields: list[str], expression: str) -> None:
    for index, field in enumerate(_FIELDS):
        if not fields[index].isascii():  # cronsim folds case first, and some letters of other scripts fold to ours
            raise InvalidTrigger(_advice(fields[index], field))
        alone = ["*"] * 5
        alone[index] = fields[index]
        try:
            CronSim(" ".join(alone), datetime(2000, 1, 1))  # noqa: DTZ001
        except CronSimError as error:
            raise InvalidTrigger(_advice(fields[index], field)) from error
    try:
        CronSim(" ".join(fields), datetime(2000, 1, 1))  # noqa: DTZ001
    except CronSimError as error:  # every field can be read, but not all at once
        raise never_matches(expression) from error


def never_matches(expression: str) -> InvalidTrigger:
    """The refusal of an expression that can be read but has no day."""
    return InvalidTrigger(f"{shown(expression)} never matches: no such day exists. Correct its day and month fields.")


def _advice(text: str, field: _Field) -> str:
    values = f"{field.lowest} to {field.highest}"
    hint = ""
    if field.words:
        values += f" or {field.words[0]} to {field.words[-1]}"
        known = [*field.words, "l"] if field.words == _DAYS else field.words
        for word in _WORD.findall(text):
            if word not in known:
                hint = hint or did_you_mean(word, field.words)
    return (
        f"{shown(text)} is no {field.name} field of a cron expression.{hint} Write {values}, ranges such as "
        f"{field.lowest}-{field.lowest + 2}, lists such as {field.lowest},{field.lowest + 2}, or steps such as */2."
    )
