"""STUB to be replaced by the real package."""

from dataclasses import dataclass, field

from modules.core.scheduler.triggers import parse_interval


@dataclass
class RowRule:
    table_name: str = ""
    date_column: str = ""


@dataclass
class FileRule:
    directory: str = ""
    max_age_hours: int = 1
    pattern: str = "*"


@dataclass
class HistoryRule:
    keep_days: int | None = None


@dataclass
class Rep:
    deleted: int = 0
    errors: list = field(default_factory=list)

    def as_json(self):
        return {"deleted": 0}


class CleanupTargets:
    def allow_table(self, column, where=None):
        pass

    def allow_directory(self, root, patterns=("*",)):
        pass

    def table(self, a, b):
        pass

    def directory(self, a):
        pass


def parse_config(c):
    return HistoryRule()


def cleanup_interval_of(c, d):
    return parse_interval(c["cleanup_interval"]) if "cleanup_interval" in c else (d, "seconds")


async def run_rule(rule, **kw):
    return Rep()
