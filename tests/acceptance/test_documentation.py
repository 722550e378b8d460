"""Every Python block in the README and in docs/ runs, and every link leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.reference_pages import PAGES as PAGES_FROM_CODE

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
SNIPPETS = [
    pytest.param(match[1], id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, match in enumerate(PYTHON.finditer(page.read_text()), 1)
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_snippet_runs(code: str, tmp_path: Path) -> None:
    script = tmp_path / "snippet.py"
    script.write_text(textwrap.dedent(code))
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_the_readme_opens_with_the_two_commands() -> None:
    first = (ROOT / "README.md").read_text().splitlines()[:6]
    assert any(line.startswith("make run") for line in first)
    assert any(line.startswith("make test") for line in first)


@pytest.mark.parametrize("name", PAGES_FROM_CODE)
def test_a_page_made_from_the_code_is_up_to_date(name: str) -> None:
    written = (ROOT / "docs" / "reference" / name).read_text()
    assert written == PAGES_FROM_CODE[name](), "run python -m tests.support.reference_pages"


def test_every_error_code_is_on_its_page() -> None:
    page = (ROOT / "docs" / "reference" / "error-handling.md").read_text()
    source = "".join(path.read_text() for path in (ROOT / "modules" / "core").rglob("*.py"))
    codes = set(re.findall(r'^    code = "([A-Z_]+)"', source, re.MULTILINE)) | {
        "INVALID_REQUEST",
        "METHOD_NOT_ALLOWED",
    }
    missing = sorted(code for code in codes if f"`{code}`" not in page)
    assert not missing
