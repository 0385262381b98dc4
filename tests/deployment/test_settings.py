"""A setting that is malformed ends the worker with one line that names the variable and never shows its value."""

import os
import re
import socket
from contextlib import nullcontext
from pathlib import Path

import pytest

from contracts.gateways import Encryption, MailServer, SmsWebhook
from runtime.connection import make_runtime
from runtime.embedded import free_port
from runtime.settings import Settings, SettingsError

from ..end_to_end.command import Program

ROOT = Path(__file__).parents[2]
_SECRET = "whsec_" + "c2VjcmV0IG9mIDMyIGJ5dGVzIGZvciBhIHRlc3QuLi4="
_WEBHOOK = {"SMS_WEBHOOK_URL": "https://sms.example.com/send?token=s3cret", "SMS_WEBHOOK_SECRET": _SECRET}

MALFORMED: dict[str, tuple[dict[str, str], str]] = {
    "not of mail": ({"SMTP_URL": "http://shop:s3cret@mail.example.com"}, "must begin with smtp:// or smtps://"),
    "no sender": ({"SMTP_URL": "smtp://shop:s3cret@mail.example.com"}, "needs the sender's address"),
    "no host": ({"SMTP_URL": "smtp://?from=a@b.c"}, "needs a host"),
    "no such port": ({"SMTP_URL": "smtp://mail.example.com:99999?from=a@b.c"}, "its port cannot be read"),
    "port 0": ({"SMTP_URL": "smtp://mail.example.com:0?from=a@b.c"}, "a port from 1 to 65535"),
    "password not quoted": ({"SMTP_URL": "smtp://shop:s3cret#1@mail.example.com?from=a@b.c"}, "as %2F %3F %23"),
    "a path": ({"SMTP_URL": "smtp://mail.example.com/s3cret?from=a@b.c"}, "nothing after the port but ?from="),
    "no password": ({"SMTP_URL": "smtp://shop@mail.example.com?from=a@b.c"}, "needs both, user and password"),
    "unknown option": ({"SMTP_URL": "smtp://mail.example.com?from=a@b.c&tls=yes"}, "has no option 'tls'"),
    "twice": ({"SMTP_URL": "smtp://mail.example.com?from=a@b.c&from=d@e.f"}, "has an option twice"),
    "a second header": ({"SMTP_URL": "smtp://h?from=a@b.c%0d%0aBcc:d@e.f"}, "needs the sender's address"),
    "no such starttls": ({"SMTP_URL": "smtp://mail.example.com?from=a@b.c&starttls=maybe"}, "starttls=never"),
    "starttls within tls": (
        {"SMTP_URL": "smtps://mail.example.com?from=a@b.c&starttls=required"},
        "no use for starttls",
    ),
    "clear text": ({"SMTP_URL": "smtp://u:s3cret@mail.example.com?from=a@b.c&starttls=never"}, "in clear text"),
    "a blank": ({"SMTP_URL": "smtp://mail.example.com?from=Shop <a@b.c>"}, "percent-encoded"),
    "webhook of no web": (_WEBHOOK | {"SMS_WEBHOOK_URL": "ftp://s3cret"}, "must begin with http:// or https://"),
    "secret too short": (_WEBHOOK | {"SMS_WEBHOOK_SECRET": "whsec_s3cret=="}, "24 to 64 bytes in base64"),
    "a database for all": ({"DATABASE_URL": "sqlite:///s3cret.db"}, "must contain {service}"),
    "another driver's option": (
        {"DATABASE_URL": "postgresql+asyncpg://services:s3cret@db/{service}?sslmode=require"},
        "asyncpg has no option sslmode",
    ),
    "no such format": ({"LOG_FORMAT": "xml"}, "must be one of 'console' or 'json'"),
    "no port of metrics": ({"METRICS_PORT": "many"}, "must be a whole number"),
    "no key": ({"PAYLOAD_KEY": "s3cret"}, "must be URL-safe base64"),
    "no collector": ({"OTEL_EXPORTER_OTLP_ENDPOINT": "s3cret"}, "must begin with http:// or https://"),
    "secret without its mark": (_WEBHOOK | {"SMS_WEBHOOK_SECRET": _SECRET[6:]}, "must be whsec_ and"),
}


@pytest.mark.parametrize(("environment", "words"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_setting_is_named_in_one_line_without_its_secret(environment: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read(environment)
    message = str(refused.value)
    assert message.partition(":")[0] in environment
    assert words in message
    assert "\n" not in message
    assert "s3cret" not in message
    assert _SECRET[6:] not in message


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite+aiosqlite:///data/x.db", "must contain {service}"),
        ("sqlite+aiosqlite:///data?{service}.db", "written %3F"),
        ("mysql://db/{service}", "must begin with sqlite+aiosqlite or postgresql+asyncpg"),
        ("postgresql+asyncpg://services:p[/?#@db:many/{service}", "is no database URL such as"),
        ("postgresql+asyncpg://services:p[/?#@[::1]:5432/{service}?sslmode=require&timeout=3", "no option sslmode;"),
    ],
)
def test_a_malformed_database_url_is_named_in_one_line(url: str, words: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(words)) as refused:
        Settings.read({"DATABASE_URL": url})
    assert str(refused.value).startswith("DATABASE_URL: ")
    assert "p[/?#" not in str(refused.value)


@pytest.mark.parametrize("missing", _WEBHOOK)
def test_a_webhook_needs_its_address_and_its_secret(missing: str) -> None:
    given = {name: value for name, value in _WEBHOOK.items() if name != missing}
    with pytest.raises(SettingsError, match=f"^{missing}: must be set too"):
        Settings.read(given)


def test_gateways_are_read_with_every_part() -> None:
    quoted = {"SMTP_URL": "smtp://shop%40x:p%2Fw%3F@mail.example.com?from=The%20Shop%20<shop@example.com>"}
    settings = Settings.read(_WEBHOOK | quoted)
    expected = MailServer(
        "mail.example.com", 587, Encryption.STARTTLS, "shop@example.com", "The Shop", "shop@x", "p/w?"
    )
    assert settings.smtp_url == expected
    assert settings.sms_webhook == SmsWebhook(_WEBHOOK["SMS_WEBHOOK_URL"], b"secret of 32 bytes for a test...")
    assert "p/w?" not in repr(settings)
    assert "s3cret" not in repr(settings)
    assert "secret of 32" not in repr(settings)


def test_a_worker_with_a_malformed_gateway_ends_with_2(tmp_path: Path) -> None:
    environment = os.environ | {"SMTP_URL": "smtp://shop:s3cret@mail.example.com", "TEMPORAL_ADDRESS": "127.0.0.1:1"}
    worker = Program(["worker.py"], tmp_path, environment)
    assert worker.wait() == 2
    assert worker.err.startswith("error: SMTP_URL: needs the sender's address")
    assert worker.err.count("\n") == 1
    assert worker.out == ""


@pytest.mark.parametrize(("given", "is_open"), [({}, False), ({"METRICS_ADDRESS": "0.0.0.0"}, True)])  # noqa: S104 — what is tested
def test_metrics_are_served_on_the_loopback_unless_another_address_is_given(
    given: dict[str, str], *, is_open: bool
) -> None:
    port = free_port()
    _runtime = make_runtime(Settings.read({"METRICS_PORT": str(port), **given}), with_metrics=True)
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    with nullcontext() if is_open else pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5).close()


def test_an_address_for_metrics_is_one_of_the_internet_protocol() -> None:
    with pytest.raises(SettingsError, match=r"^METRICS_ADDRESS: must be an IP address"):
        Settings.read({"METRICS_ADDRESS": "everywhere"})
