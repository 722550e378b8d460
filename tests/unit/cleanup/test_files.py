"""Old files go, and nothing else: on a real folder, with everything in it that could go wrong."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePath

import pytest

from modules.core.scheduler.cleanup.config import FileRule, InvalidCleanup
from modules.core.scheduler.cleanup.files import clean_files
from modules.core.scheduler.cleanup.report import Budget, CleanupReport
from modules.core.scheduler.cleanup.targets import DirectoryTarget
from modules.core.scheduler.cleanup.walk import MountReader, Walk, mount_of, opened_folder, regular_files

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def put(path: Path, hours: float = 48, content: str = "old") -> Path:
    """A file that was last changed that many hours ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    age(path, hours)
    return path


def age(path: Path, hours: float) -> None:
    when = (NOW - timedelta(hours=hours)).timestamp()
    os.utime(path, (when, when), follow_symlinks=False)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def clean(
    root: Path,
    *,
    hours: int = 24,
    pattern: str = "*",
    patterns: tuple[str, ...] = ("*",),
    way: str = "",
    recursive: bool = True,
    dry_run: bool = False,
    budget: Budget | None = None,
    mount_of: MountReader = mount_of,
) -> CleanupReport:
    rule = FileRule(str(root / way), hours, pattern, recursive)
    return clean_files(
        DirectoryTarget(root, patterns),
        PurePath(way),
        rule,
        NOW,
        budget or Budget(60, lambda: 0.0),
        dry_run=dry_run,
        mount_of=mount_of,
    )


def spent_after(answers: int) -> Budget:
    """A budget whose time is used up when it has been asked that many times."""
    ticks = iter([0.0] * (answers + 1) + [99.0] * 9999)
    return Budget(1, lambda: next(ticks))


def test_old_files_go_and_young_ones_stay(tmp_path: Path) -> None:
    old, deep = put(tmp_path / "old.tmp"), put(tmp_path / "a" / "b" / "deep.tmp")
    young = put(tmp_path / "young.tmp", hours=23)
    report = clean(tmp_path)
    assert (report.matched, report.deleted, report.bytes, report.skipped, report.errors) == (2, 2, 6, 0, [])
    assert sorted(report.sample) == ["a/b/deep.tmp", "old.tmp"]
    assert young.exists()
    assert not old.exists()
    assert not deep.exists()
    assert deep.parent.is_dir(), "folders stay"


def test_exactly_at_the_cutoff_is_not_old(tmp_path: Path) -> None:
    put(tmp_path / "edge", hours=24)
    assert clean(tmp_path).matched == 0


def test_a_dry_run_deletes_nothing_and_says_the_same(tmp_path: Path) -> None:
    for number in range(15):
        put(tmp_path / f"{number}.tmp")
    before = names(tmp_path)
    report = clean(tmp_path, dry_run=True)
    assert (report.matched, report.deleted, report.bytes, len(report.sample)) == (15, 0, 45, 10)
    assert names(tmp_path) == before
    assert clean(tmp_path).deleted == 15


def test_the_name_must_match_what_code_allows_and_what_the_rule_asks(tmp_path: Path) -> None:
    for name in ("a.tmp", "b.upload", "c.txt", "error.tmp"):
        put(tmp_path / name)
    put(tmp_path / "c.rtf")
    clean(tmp_path, patterns=("*.tmp", "*.upload"), pattern="*r*")
    assert names(tmp_path) == ["a.tmp", "b.upload", "c.rtf", "c.txt"], "c.rtf is asked for and not allowed"
    clean(tmp_path, patterns=("*.tmp", "*.upload"), pattern="*")
    assert names(tmp_path) == ["c.rtf", "c.txt"]


def test_links_and_special_files_are_left_alone(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside" / "precious.txt")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(outside)
    (root / "folder_link").symlink_to(outside.parent)
    linked = put(root / "linked.txt")
    os.link(linked, root / "second_name.txt")
    os.mkfifo(root / "pipe")
    for name in ("link", "folder_link", "pipe"):
        age(root / name, 48)
    report = clean(root)
    assert (report.matched, report.deleted, report.errors) == (0, 0, [])
    assert outside.exists()
    assert len(names(root)) == 5


def test_a_root_that_is_or_holds_a_symbolic_link_is_not_entered(tmp_path: Path) -> None:
    real = put(tmp_path / "real" / "inner" / "file").parent
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for root, way in ((tmp_path / "link", ""), (tmp_path / "link", "inner"), (tmp_path, "link/inner")):
        with pytest.raises(InvalidCleanup, match="symbolic link"):
            clean(root, way=way)
    assert (real / "file").exists()


def test_a_folder_that_is_swapped_for_a_link_during_the_walk_is_not_followed(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside" / "precious").parent
    put(tmp_path / "root" / "first")
    inner = tmp_path / "root" / "inner"
    put(inner / "old")
    problems: list[str] = []
    walk = Walk(problems.append)
    with opened_folder(tmp_path / "root", PurePath(), walk) as folder:
        for file in regular_files(folder, walk):
            if file.name == "first":
                inner.rename(tmp_path / "moved")
                inner.symlink_to(outside)
            file.unlink_if_unchanged()
    assert (outside / "precious").exists()
    assert (tmp_path / "moved" / "old").exists()


def test_a_file_that_was_renewed_after_it_was_seen_stays(tmp_path: Path) -> None:
    path = put(tmp_path / "file")
    walk = Walk(pytest.fail, recursive=False)
    with opened_folder(tmp_path, PurePath(), walk) as folder:
        [file] = list(regular_files(folder, walk))
        age(path, 0)
        assert file.unlink_if_unchanged() is False
        path.unlink()
        put(path)
        assert file.unlink_if_unchanged() is False, "another file under the same name"
    assert path.exists()


def test_names_that_are_no_text_are_handled(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/bad\xff\x1b.tmp"
    os.close(os.open(name, os.O_CREAT))
    when = (NOW - timedelta(hours=48)).timestamp()
    os.utime(name, (when, when))
    report = clean(tmp_path)
    assert (report.deleted, report.sample) == (1, [r"bad\xff\x1b.tmp"])


def test_names_cannot_write_lines_of_their_own_into_a_report(tmp_path: Path) -> None:
    put(tmp_path / "a\nb\x1b[31m\u202e\\n.tmp")
    put(tmp_path / "grüße 雪.tmp")
    assert sorted(clean(tmp_path, dry_run=True).sample) == [r"a\nb\x1b[31m\u202e\\n.tmp", "grüße 雪.tmp"]


def test_only_the_folder_itself_where_that_is_asked(tmp_path: Path) -> None:
    put(tmp_path / "here")
    deep = put(tmp_path / "a" / "there")
    assert clean(tmp_path, recursive=False).deleted == 1
    assert deep.exists()


def test_a_folder_inside_the_root(tmp_path: Path) -> None:
    here, there = put(tmp_path / "a" / "x"), put(tmp_path / "b" / "x")
    clean(tmp_path, way="a")
    assert (here.exists(), there.exists()) == (False, True)


def test_a_missing_folder_is_reported_and_nothing_else(tmp_path: Path) -> None:
    report = clean(tmp_path / "later")
    assert (report.matched, report.errors) == (0, ["the folder does not exist yet"])


def test_a_very_deep_tree_ends_the_walk_and_not_the_program(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    put(tmp_path / "old")
    report = clean(tmp_path)
    assert report.deleted == 1
    assert len(report.errors) == 1
    assert "deeper than" in report.errors[0]


def test_when_the_time_is_up_the_rest_is_left_to_the_next_run(tmp_path: Path) -> None:
    for number in range(1200):
        put(tmp_path / f"{number}", content="")
    first = clean(tmp_path, budget=spent_after(0))
    assert (first.deleted, first.batches, first.complete) == (500, 1, False)
    second = clean(tmp_path)
    assert (second.deleted, second.batches, second.complete) == (700, 2, True)


def test_the_time_is_asked_for_where_there_is_no_file_at_all(tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / f"{number}").mkdir()
    put(tmp_path / "0" / "file")
    assert clean(tmp_path, budget=spent_after(0), dry_run=True).complete is False
    assert clean(tmp_path, dry_run=True).complete is True
