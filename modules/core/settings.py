"""Settings: typed models filled from code, the environment and .env, in this order of precedence.

A value that cannot be used stops the start with a message that names the variable.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from modules.core.errors import ConfigurationError, did_you_mean

SCHEDULER_MODULE = "modules.core.scheduler"


class _KnownEnv(EnvSettingsSource):
    """The environment, where a name with our prefix that no setting has is a mistake worth telling."""

    def __call__(self) -> dict[str, Any]:
        _refuse_unknown(self.env_vars, self.env_prefix, self.settings_cls)
        return super().__call__()


class _KnownDotEnv(DotEnvSettingsSource):
    """.env, read for our own prefix only: the file belongs to the whole application."""

    def __call__(self) -> dict[str, Any]:
        _refuse_unknown(self.env_vars, self.env_prefix, self.settings_cls)
        fields = self.settings_cls.model_fields
        return {name: value for name, value in super().__call__().items() if name in fields}


def _refuse_unknown(variables: Mapping[str, str | None], prefix: str, settings_cls: type[BaseSettings]) -> None:
    if not getattr(settings_cls, "REFUSE_UNKNOWN_VARIABLES", False):
        return
    known = {(prefix + name).lower() for name in settings_cls.model_fields}
    for name in variables:
        if name.lower().startswith(prefix.lower()) and name.lower() not in known:
            hint = did_you_mean(name.upper(), [variable.upper() for variable in known])
            raise ConfigurationError(f"{name.upper()} is not a setting.{hint} Remove it or correct its name.")


class _Settings(BaseSettings):
    REFUSE_UNKNOWN_VARIABLES: ClassVar[bool] = False

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="forbid", frozen=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the signature is pydantic's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, _KnownEnv(settings_cls), _KnownDotEnv(settings_cls))

    @classmethod
    def load(cls, **values: Any) -> Self:
        """The settings, or a ConfigurationError that names each wrong variable and what was wrong."""
        try:
            return cls(**values)
        except ValidationError as error:
            prefix = str(cls.model_config.get("env_prefix", ""))
            lines = []
            for problem in error.errors(include_url=False):
                name = str(problem["loc"][0]) if problem["loc"] else ""
                hint = did_you_mean(name, cls.model_fields) if problem["type"] == "extra_forbidden" else ""
                text = problem["msg"].removeprefix("Value error, ").rstrip(".")
                lines.append(f"{(prefix + name).upper()}: {text}.{hint}")
            raise ConfigurationError("These settings cannot be used. " + " ".join(lines)) from error


class ModuleSettings(_Settings):
    """Base of a module's settings. Subclasses set `env_prefix="CORE_<MODULE>_"` in their model_config.

    Unknown variables with that prefix are refused, since a misspelt setting that is silently ignored is found at 3 am.
    """

    REFUSE_UNKNOWN_VARIABLES: ClassVar[bool] = True

    @classmethod
    def describe(cls) -> dict[str, dict[str, Any]]:
        """`{name: {"type", "default", "description"}}` of every setting: the form that settings pages read."""
        described = {}
        for name, field in cls.model_fields.items():
            annotation = field.annotation
            described[name] = {
                "type": getattr(annotation, "__name__", str(annotation)),
                "default": field.get_default(call_default_factory=True, validated_data={}),
                "description": field.description or "",
            }
        return described


class AppSettings(_Settings):
    """The application's own settings; environment prefix APP_."""

    model_config = SettingsConfigDict(env_prefix="APP_")

    database_url: str = Field(
        default="",
        description="SQLAlchemy URL; empty means a SQLite file in data_dir. Example: postgresql://user@host/db",
    )
    data_dir: Path = Field(
        default=Path("data"),
        validate_default=True,
        description="Folder of the embedded database and of written files",
    )
    modules: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(SCHEDULER_MODULE,),
        description="Import paths of packages that hold a module.py, comma separated; the scheduler always loads",
    )
    auto_migrate: bool = Field(default=True, description="Bring the database's schema up to date at start")
    sqlite_synchronous: str = Field(
        default="FULL", pattern="^(FULL|NORMAL)$", description="FULL survives power failure; NORMAL is faster"
    )
    database_pooler: Literal["none", "transaction"] = Field(
        default="none",
        description="transaction: PostgreSQL is reached through PgBouncer in transaction mode, or something like it",
    )
    host: str = Field(default="127.0.0.1", description="Address that `scheduler serve` binds to")
    port: int = Field(default=8000, ge=0, le=65535, description="Port of `scheduler serve`; 0 picks a free one")
    log_level: str = Field(
        default="info", pattern="^(debug|info|warning|error)$", description="Log level of `scheduler serve`"
    )
    module_settings: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description='Module settings from code, above the environment: {"core.scheduler": {"lease_seconds": 20}}',
    )

    @field_validator("data_dir")
    @classmethod
    def _one_way_to_it(cls, value: Path) -> Path:
        # Without "~" and "..", which mean something else to whoever is handed the path later.
        return Path(os.path.abspath(os.path.expanduser(value)))  # noqa: PTH100, PTH111  # abspath also removes ".."

    @field_validator("modules", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = json.loads(value) if value.lstrip().startswith("[") else value.split(",")
        if isinstance(value, list | tuple):
            paths = [str(path).strip() for path in value if str(path).strip()]
            return tuple(dict.fromkeys([SCHEDULER_MODULE, *paths]))
        return value

    @property
    def effective_database_url(self) -> str:
        """`database_url`, or the embedded SQLite file."""
        return self.database_url or f"sqlite+aiosqlite:///{(self.data_dir / 'scheduler.sqlite3').as_posix()}"
