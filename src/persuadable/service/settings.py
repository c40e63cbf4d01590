"""How the service is set up: flags over environment over file over defaults, each with where it came from."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from persuadable.errors import ParameterError
from persuadable.service.loopback import is_loopback
from persuadable.service.store import masked_url

__all__ = ["PREFIX", "Configured", "ContractAnswers", "Settings", "configure"]

PREFIX = "PERSUADABLE_"
# Variables with our prefix that other parts of the package read.
ELSEWHERE = {f"{PREFIX}{name}" for name in ("API_KEY", "CACHE", "DATA", "PEERS", "SERVICE")}
KIB, MIB = 2**10, 2**20


class ContractAnswers(BaseModel):
    """What is done with a feature that breaks the contract, for each kind of violation.

    ``refuse`` the request; ``flag`` and let pass (an unknown column is dropped, an unseen category or a
    missing value is scored as missing); ``clip`` to the nearest bound and flag; ``fallback``: no action for this unit,
    with probability 1, and flag.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=lambda name: name.replace("_", "-"))

    missing_column: Literal["refuse", "flag", "fallback"] = "refuse"
    wrong_type: Literal["refuse", "flag", "fallback"] = "refuse"
    unknown_column: Literal["refuse", "flag", "fallback"] = "flag"
    out_of_range: Literal["refuse", "flag", "clip", "fallback"] = "clip"
    unseen_category: Literal["refuse", "flag", "fallback"] = "fallback"
    missing_value: Literal["refuse", "flag", "fallback"] = "fallback"

    @model_validator(mode="before")
    @classmethod
    def _hyphens(cls, told: Any) -> Any:
        """Environment variables cannot hold hyphens: OUT_OF_RANGE is out-of-range."""
        return {str(k).replace("_", "-"): v for k, v in told.items()} if isinstance(told, Mapping) else told


class Settings(BaseSettings):
    """Everything that can be set about the service.

    An instance holds what it is given; :func:`configure` also reads the environment and a file.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one and says which.")
    store: str = Field(
        "sqlite:///persuadable.db", repr=False, description="URL of the database: sqlite:///FILE or postgresql://…"
    )
    workers: int = Field(1, ge=1, le=64, description="Worker processes.")
    insecure: bool = Field(False, description="Answer without API keys; on a loopback address only.")
    bundles_folder: Path | None = Field(None, description="Folder from which an administrator may activate bundles.")
    answers: ContractAnswers = Field(
        default_factory=ContractAnswers, description="What is done with features that break the contract."
    )
    max_body_bytes: int = Field(4 * MIB, ge=KIB, description="Largest body of a request, in bytes.")
    max_units: int = Field(1_000, ge=1, le=100_000, description="Most units or outcomes in one request.")
    max_batch_bytes: int = Field(512 * MIB, ge=KIB, description="Largest body of a batch, in bytes.")
    max_batch_units: int = Field(1_000_000, ge=1, description="Most units in one batch.")
    max_bundle_bytes: int = Field(256 * MIB, ge=KIB, description="Largest bundle, zipped and unzipped, in bytes.")
    rate_per_second: float = Field(
        0.0,
        ge=0.0,
        description="Requests per second and API key (or address, without keys), in equal shares at each worker; "
        "0 is without limit.",
    )
    rate_burst: int = Field(
        100, ge=1, description="Requests a key may make at once before its rate applies, in equal shares too."
    )
    poll_seconds: float = Field(
        0.5, ge=0.05, le=5.0, description="Seconds between looks at the store for a new deployment or key."
    )
    store_timeout_seconds: float = Field(5.0, gt=0.0, le=60.0, description="Seconds to wait for the store.")
    review_claim_seconds: float = Field(
        900.0, ge=1.0, le=86_400.0, description="Seconds for which a case that a reviewer claimed is theirs alone."
    )
    drain_seconds: int = Field(30, ge=1, le=600, description="Seconds that requests under way may take at the end.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="Lines for machines or for people; auto is text in a terminal."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What it is given and nothing else, so that tests and workers hold what they were handed."""
        return (init_settings,)

    @field_validator("store")
    @classmethod
    def _readable(cls, url: str) -> str:
        masked_url(url)
        return url

    @model_validator(mode="after")
    def _insecure_on_loopback_only(self) -> Settings:
        if self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"insecure answers whoever can reach {self.host}: create API keys with 'persuadable keys create', "
                "or listen on 127.0.0.1"
            )
        return self


@dataclass(frozen=True, slots=True)
class Configured:
    """Settings, and for each where it came from."""

    settings: Settings
    origins: Mapping[str, str]
    unknown: tuple[str, ...]

    def lines(self) -> list[str]:
        """One line per setting, secrets masked."""
        shown = dict(_flat(self.settings.model_dump(by_alias=True)))
        shown["store"] = masked_url(self.settings.store)
        wide, values = max(map(len, shown)), {name: "" if v is None else str(v) for name, v in shown.items()}
        long = max(map(len, values.values()))
        told = [f"{name:<{wide}}  {value:<{long}}  {self._origin(name)}" for name, value in values.items()]
        return told + [f"{name} is set and is no setting" for name in self.unknown]

    def _origin(self, name: str) -> str:
        return self.origins.get(name, "default")


def configure(flags: Mapping[str, Any], file: Path | None = None) -> Configured:
    """The settings in force: flags over environment over file over defaults.

    Args:
        flags: what the command line says; None is unsaid.
        file: a TOML file with any of the settings, contract answers in a table ``[answers]``.

    Raises:
        ParameterError: a file that cannot be read, an unknown setting, or a value that is not allowed.
    """
    told = _from_file(file) if file is not None else {}
    environment = EnvSettingsSource(Settings)
    try:
        layers = [
            (f"file {file}", told),
            ("environment", environment()),
            ("flag", {k: v for k, v in flags.items() if v is not None}),
        ]
    except ValueError as error:
        raise ParameterError(f"An environment variable cannot be read: {error}") from error
    values: dict[str, Any] = {}
    for origin, layer in layers:
        for name, value in _flat(layer):
            values[name] = (value, origin)
    try:
        settings = Settings(**_nested({name: value for name, (value, _) in values.items()}))
    except ValidationError as error:
        raise _refused(error, {name: origin for name, (_, origin) in values.items()}) from None
    return Configured(settings, {name: origin for name, (_, origin) in values.items()}, _unknown())


def _from_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ParameterError(
            f"The settings in {str(file)!r} cannot be read: {error}", remedy="Write them as TOML: port = 8000"
        ) from error


def _flat(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Contract answers as ``answers.out-of-range``, everything else as it is."""
    flat: list[tuple[str, Any]] = []
    for name, value in values.items():
        if name == "answers" and isinstance(value, Mapping):
            flat += [(f"answers.{str(code).replace('_', '-')}", answer) for code, answer in value.items()]
        else:
            flat.append((name, value))
    return flat


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested = {name: value for name, value in values.items() if not name.startswith("answers.")}
    answers = {name.removeprefix("answers."): v for name, v in values.items() if name.startswith("answers.")}
    return nested | ({"answers": answers} if answers else {})


def _refused(error: ValidationError, origins: Mapping[str, str]) -> ParameterError:
    first = error.errors(include_url=False, include_context=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    why = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return ParameterError(
            f"There is no setting {name!r}", where=origins.get(name), remedy="persuadable serve --check lists all."
        )
    if not name:
        return ParameterError(f"These settings do not go together: {why}")
    shown = "" if name == "store" else f" is {first['input']!r}"
    return ParameterError(f"The setting {name!r}{shown}: {why}", where=origins.get(name))


def _unknown() -> tuple[str, ...]:
    """Variables with our prefix that set nothing: a typing error, most likely."""
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields} | ELSEWHERE
    return tuple(
        sorted(
            name
            for name in os.environ
            if name.upper().startswith(PREFIX) and name.upper() not in known and not name.upper().startswith(NESTED)
        )
    )


NESTED = f"{PREFIX}ANSWERS__"
