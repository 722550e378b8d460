"""Writes the reference pages that are made from the code: `python -m tests.support.reference_pages`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from modules.app import create_app
from modules.core.scheduler.module_settings import SchedulerSettings
from modules.core.settings import AppSettings

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
NOTE = "<!-- Made from the code by `python -m tests.support.reference_pages`; a test compares. -->"

SETTINGS_HEAD = f"""# Settings
{NOTE}

Settings come from code, from environment variables, and from a `.env` file in the working directory, in this order
of precedence. A value that cannot be used stops the start with a message that names the variable, and so does a
variable with the prefix `CORE_SCHEDULER_` that no setting has.

In code: `AppSettings.load(port=9000, module_settings={{"core.scheduler": {{"lease_seconds": 20}}}})`. A module of your
own declares its settings as a subclass of `ModuleSettings` and reads them with
`context.module_settings(MODULE_ID, Model)`.
"""

REST_HEAD = f"""# REST API
{NOTE}

Everything is under `/api/v1/scheduler`; the OpenAPI document is at `/api/v1/openapi.json`.

**Keys.** Send `Authorization: Bearer <key>` or `X-API-Key: <key>`. A key has a scope: `read`, `operate` (read and
control tasks), `admin` (everything). `scheduler serve` makes a first admin key where there is none and shows it once;
`CORE_SCHEDULER_ADMIN_KEY` sets one; `scheduler keys create` makes more. Only hashes are stored.

**Bodies** are JSON of at most 64 KiB, with `Content-Type: application/json`. Unknown fields, unknown query
parameters, duplicate keys, NaN, NUL and times without an offset are refused. **Times** are answered in UTC with `Z`.

**Errors** are `application/problem+json` with `status`, a stable `code`, a `message` that says what to do, and
sometimes `details`. 401 no accepted key, 403 its scope is too small, 404 no such thing, 409 not in this state, 413 too
large, 415 not JSON, 422 anything else that cannot be accepted, 503 the database is away. All codes:
[error handling](error-handling.md).

**Browsers** are let in only from this server's own pages: what they send from another site is refused (403,
`CROSS_SITE`). Programs notice nothing of it.

**What readers see.** Parameters, results and errors are shown as they are to every key, `read` included: keep secrets
out of them, and pass the name of a secret instead.

**Lists** answer `next_cursor`; pass it as `cursor` for the next page, null means there is none. `limit` is 1 to 200.
"""


def settings_page() -> str:
    parts = [SETTINGS_HEAD]
    for title, model, prefix in (
        ("The scheduler", SchedulerSettings, "CORE_SCHEDULER_"),
        ("The application", AppSettings, "APP_"),
    ):
        parts.append(f"\n## {title}\n\n| variable | default | meaning |\n|---|---|---|")
        for name, field in model.model_fields.items():
            default = field.get_default(call_default_factory=True, validated_data={})
            parts.append(f"| `{prefix}{name.upper()}` | {_default(default)} | {field.description} |")
    return "\n".join(parts) + "\n"


def rest_page() -> str:
    with tempfile.TemporaryDirectory() as folder:
        document = create_app(AppSettings(data_dir=Path(folder))).openapi()
    schemas = document["components"]["schemas"]
    parts = [REST_HEAD]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.append(f"\n## {method.upper()} {path.removeprefix('/api/v1/scheduler')}\n")
            scope = operation.get("x-scope")
            parts.append(f"{operation['description']}{f' Scope: `{scope}`.' if scope else ''}")
            parts += _query(operation)
            parts += _body(operation, schemas)
            parts += _answers(operation)
    return "\n".join(parts) + "\n"


def _query(operation: dict[str, Any]) -> list[str]:
    names = [f"`{item['name']}`" for item in operation.get("parameters", ()) if item["in"] == "query"]
    return [f"\nQuery: {', '.join(names)}."] if names else []


def _body(operation: dict[str, Any], schemas: dict[str, Any]) -> list[str]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if content is None:
        return []
    reference = content.get("$ref") or next(item["$ref"] for item in content["anyOf"] if "$ref" in item)
    schema = schemas[reference.rpartition("/")[2]]
    required = set(schema.get("required", ()))
    fields = [f"`{name}`{' (required)' if name in required else ''}" for name in schema.get("properties", ())]
    if not fields:
        return []
    optional = "" if operation["requestBody"].get("required") else "optional; "
    return [f"\nBody: {optional}{', '.join(fields)}."]


def _answers(operation: dict[str, Any]) -> list[str]:
    answers = []
    for status, answer in operation["responses"].items():
        schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
        if status.startswith("2"):
            name = schema.get("$ref", "").rpartition("/")[2]
            answers.append(f"{status}{f' `{name}`' if name else ''}")
    return [f"\nAnswers: {', '.join(answers)}."]


def _default(value: Any) -> str:
    if value in (None, ""):
        return ""
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"`{value}`"


PAGES = {"settings.md": settings_page, "rest.md": rest_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
