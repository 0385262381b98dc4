"""The settings, read once from the environment. A malformed value is an error that names its variable."""

import base64
import binascii
import os
import re
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Self
from urllib.parse import parse_qs

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator
from temporalio.common import WorkerDeploymentVersion

from contracts.gateways import MailServer, SmsWebhook, split_url, web_url, webhook_secret
from contracts.message import InWords
from contracts.problems import first_problem


class SettingsError(Exception):
    """A variable of the environment, or an option, is unknown or malformed. The message names it."""


class LogFormat(StrEnum):
    CONSOLE = "console"
    JSON = "json"


_DRIVERS = ("sqlite+aiosqlite", "postgresql+asyncpg")
_DATABASE_URL = re.compile(
    r"(?P<driver>[\w+]+)://([^:/]*(:[^@]*)?@)?(\[[^/?]+\]|[^/:?]*)(:(?P<port>\d*))?(/(?P<database>[^?]*))?(\?(?P<options>.*))?"
)
"""As SQLAlchemy reads one. Its import takes a fifth of a command's time, and most commands open no database."""


_DATABASE_OPTIONS = {
    "ssl": "disable|allow|prefer|require|verify-ca|verify-full",
    "host": ".+",
    "port": r"\d+",
    "passfile": ".+",
    "command_timeout": r"\d+(\.\d+)?",
    "prepared_statement_cache_size": r"\d+",
    "target_session_attrs": "any|primary|standby|read-write|read-only|prefer-standby",
}
"""Options of asyncpg that can be given as text, and SQLAlchemy's of prepared statements; each with its values."""


def _database_url(template: str) -> str:
    if "{service}" not in template:
        raise ValueError("must contain {service}: every service has a database of its own")
    if not template.startswith(tuple(f"{driver}://" for driver in _DRIVERS)):
        raise ValueError(f"must begin with {' or '.join(_DRIVERS)} and ://")
    url = _DATABASE_URL.fullmatch(template)
    if url is None:
        raise ValueError("is no database URL such as postgresql+asyncpg://user:pw@host/{service}")
    if url["port"] and not 1 <= int(url["port"]) <= 65535:
        raise ValueError("must have a port from 1 to 65535, if it names one")
    if url["driver"].startswith("sqlite") and "{service}" not in (url["database"] or ""):
        raise ValueError("must have {service} in its path; a ? in a folder's name is written %3F")
    if url["driver"].startswith("postgresql") and url["options"]:
        for name, values in parse_qs(url["options"], keep_blank_values=True).items():
            if name not in _DATABASE_OPTIONS:
                raise ValueError(f"can have no option {name}; there are {', '.join(_DATABASE_OPTIONS)}")
            values_of = _DATABASE_OPTIONS[name]
            if len(values) > 1 or not re.fullmatch(values_of, values[0]):
                raise ValueError(f"must have for {name} {'one of ' + values_of if '|' in values_of else 'a number'}")
    return template


def _ip_address(address: str) -> str:
    try:
        return str(ip_address(address))
    except ValueError:
        raise ValueError("must be an IP address of this host, such as 127.0.0.1, or 0.0.0.0 for all") from None


def _events_url(url: str) -> str:
    split_url(url, ("nats", "tls"))
    return url


def _payload_key(given: str) -> str:
    """`given` without blanks: keys in base64, separated by commas."""
    keys = [key.strip() for key in given.split(",")]
    for number, encoded in enumerate(keys, start=1):
        which = f"key {number} of {len(keys)} " if len(keys) > 1 else ""
        try:
            key = base64.urlsafe_b64decode(encoded)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"{which}must be URL-safe base64") from error
        if len(key) != 32:
            raise ValueError(f"{which}must be 32 bytes in URL-safe base64, such as `openssl rand -base64 32` prints")
    return ",".join(keys)


class Settings(BaseModel):
    """The settings. Each field is the variable of its name in capitals; temporalio reads Temporal's own variables."""

    model_config = ConfigDict(frozen=True)

    database_url: Annotated[str, AfterValidator(_database_url)] = "sqlite+aiosqlite:///data/{service}.db"
    events_url: Annotated[str, AfterValidator(_events_url)] | None = None
    log_format: LogFormat = LogFormat.CONSOLE
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    metrics_address: Annotated[str, AfterValidator(_ip_address)] = "127.0.0.1"
    otel_exporter_otlp_endpoint: Annotated[str, AfterValidator(web_url)] | None = None
    payload_key: Annotated[str, AfterValidator(_payload_key)] | None = Field(default=None, repr=False)
    codec_token: (
        Annotated[
            str, Field(pattern=r"^[!-~]{16,}$"), InWords("must be at least 16 printable characters without space")
        ]
        | None
    ) = Field(default=None, repr=False)
    smtp_url: Annotated[MailServer, PlainValidator(MailServer.parse)] | None = None
    sms_webhook_url: Annotated[str, AfterValidator(web_url)] | None = Field(default=None, repr=False)
    sms_webhook_secret: Annotated[bytes, PlainValidator(webhook_secret)] | None = Field(default=None, repr=False)
    # Temporal's worker controller for Kubernetes sets these two. The server reserves `.` and `:` in a name.
    temporal_deployment_name: (
        Annotated[
            str, Field(pattern=r"^[^.:\s]{1,100}$"), InWords("must be 1 to 100 characters without space, dot or colon")
        ]
        | None
    ) = None
    temporal_worker_build_id: (
        Annotated[str, Field(pattern=r"^\S{1,100}$"), InWords("must be 1 to 100 characters without space")] | None
    ) = None

    @model_validator(mode="after")
    def _names_a_build_in_full(self) -> Self:
        names = {"temporal_deployment_name", "temporal_worker_build_id"}
        missing = [name.upper() for name in names if getattr(self, name) is None]
        if len(missing) == 1:
            raise ValueError(f"{missing[0]}: must be set too; a build has both a deployment's name and an id")
        return self

    @model_validator(mode="after")
    def _signs_what_it_sends(self) -> Self:
        names = {"sms_webhook_url", "sms_webhook_secret"}
        missing = [name.upper() for name in names if getattr(self, name) is None]
        if len(missing) == 1:
            raise ValueError(f"{missing[0]}: must be set too; a webhook has both an address and a secret")
        return self

    @property
    def sms_webhook(self) -> SmsWebhook | None:
        if self.sms_webhook_url is None or self.sms_webhook_secret is None:
            return None
        return SmsWebhook(self.sms_webhook_url, self.sms_webhook_secret)

    @property
    def deployment_version(self) -> WorkerDeploymentVersion | None:
        """The build of this process; `None` where only one build runs at a time."""
        if self.temporal_deployment_name is None or self.temporal_worker_build_id is None:
            return None
        return WorkerDeploymentVersion(self.temporal_deployment_name, self.temporal_worker_build_id)

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The settings in `environment`. Raises `SettingsError`."""
        given = {name: environment[name.upper()] for name in cls.model_fields if environment.get(name.upper())}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            variable, _, problem = first_problem(error).partition(": ")
            raise SettingsError(f"{variable.split('.')[0].upper()}: {problem}") from error

    def database_of(self, service: str) -> str:
        return self.database_url.replace("{service}", service)
