"""API keys: made once, shown once, kept as a hash, and what each may do."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from typing import Any, Literal, get_args

from modules.core.errors import ConfigurationError, Forbidden, Invalid, NotFound, Unauthorized
from modules.core.ids import new_id
from modules.core.scheduler.cursors import is_id
from modules.core.scheduler.input_rules import checked_line
from modules.core.scheduler.module_settings import SchedulerSettings
from modules.core.scheduler.runtime import Runtime
from modules.core.scheduler.views import api_key_view

Scope = Literal["read", "operate", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX_LENGTH = 12
LONGEST_KEY = 200


class KeyNotFound(NotFound):
    code = "KEY_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, and what they may do: read; operate = read + control; admin = everything."""

    name: str
    scope: Scope

    def require(self, scope: Scope) -> None:
        """Raises Forbidden unless this principal's scope includes `scope`."""
        if SCOPES.index(self.scope) < SCOPES.index(scope):
            raise Forbidden(
                f"This needs a key with the scope {scope!r}; the one shown has {self.scope!r}.",
                details={"required": scope, "scope": self.scope},
            )


class ApiKeys:
    """Makes, checks and revokes keys. Service key "core.scheduler.keys"."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._admin_hash = _admin_hash(runtime.settings)
        self.required = runtime.settings.auth_required

    async def create(self, name: str, scope: str, expires_at: datetime | None = None) -> dict[str, Any]:
        """A new key: its view, and the secret under "key", which nobody can read again. Raises Invalid."""
        if scope not in SCOPES:
            raise Invalid(f"{scope!r} is no scope: use read, operate or admin.")
        now = self._runtime.clock.now()
        if expires_at is not None and expires_at <= now:
            raise Invalid("expires_at has passed: give a time in the future, or none.")
        secret = f"sk_{secrets.token_urlsafe(32)}"
        values = {
            "id": new_id(),
            "name": checked_line(name, "name"),
            "prefix": secret[:PREFIX_LENGTH],
            "key_hash": _hash(secret),
            "scope": scope,
            "created_at": now,
            "expires_at": expires_at,
        }
        await self._runtime.db_ops.insert_api_key(values)
        shown = {key: values[key] for key in ("id", "name", "prefix", "scope", "created_at", "expires_at")}
        return shown | {"revoked_at": None, "key": secret}

    async def all(self) -> list[dict[str, Any]]:
        """All keys ever made, without their secrets."""
        return [api_key_view(key) for key in await self._runtime.db_ops.list_api_keys()]

    async def revoke(self, key_id: str) -> None:
        """Refuse that key from now on, in every process. Raises KeyNotFound."""
        if not is_id(key_id) or not await self._runtime.db_ops.revoke_api_key(key_id, self._runtime.clock.now()):
            raise KeyNotFound("There is no live key of that id: list the keys to find it.")

    async def any_exists(self) -> bool:
        """Whether anybody could be let in: by a stored key or by the configured admin key."""
        if self._admin_hash is not None:
            return True
        return await self._runtime.db_ops.count_live_api_keys(self._runtime.clock.now()) > 0

    async def authenticate(self, secret: str | None) -> Principal:
        """Whose key this is. Raises Unauthorized without telling why a key is not accepted."""
        if not secret:
            raise Unauthorized(
                "An API key is needed: send it as `Authorization: Bearer <key>` or `X-API-Key: <key>`; "
                "`scheduler keys create` makes one."
            )
        if len(secret) <= LONGEST_KEY:
            hashed = _hash(secret)
            if self._admin_hash is not None and compare_digest(hashed, self._admin_hash):
                return Principal("admin key from the configuration", "admin")
            key = await self._runtime.db_ops.find_api_key(hashed, self._runtime.clock.now())
            if key is not None:
                return Principal(key.name, key.scope)  # type: ignore[arg-type]  # held to it by a check constraint
        raise Unauthorized("This API key is not accepted: it is unknown, revoked or has expired.")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _admin_hash(settings: SchedulerSettings) -> str | None:
    if settings.admin_key is not None:
        return _hash(settings.admin_key.get_secret_value())
    if settings.admin_key_file is None:
        return None
    try:
        secret = settings.admin_key_file.read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"CORE_SCHEDULER_ADMIN_KEY_FILE {str(settings.admin_key_file)!r} cannot be read: {error}."
        ) from error
    if len(secret) < 16:
        raise ConfigurationError("The key in CORE_SCHEDULER_ADMIN_KEY_FILE needs at least 16 characters.")
    return _hash(secret)
