"""A setting that is malformed ends the worker with one line that names the variable and never shows its value."""

import os
import re
import socket
from contextlib import nullcontext
from pathlib import Path

import pytest

from contracts.gateways import Encryption, MailServer, SmsWebhook
from runtime import connection
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
        "can have no option sslmode; there are ssl, ",
    ),
    "no such format": ({"LOG_FORMAT": "xml"}, "must be one of 'console' or 'json'"),
    "no port of metrics": ({"METRICS_PORT": "many"}, "must be a whole number"),
    "no key": ({"PAYLOAD_KEY": "s3cret"}, "must be URL-safe base64"),
    "no collector": ({"OTEL_EXPORTER_OTLP_ENDPOINT": "s3cret"}, "must begin with http:// or https://"),
    "no host of a collector": ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://"}, "needs a host"),
    "no port of a collector": ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:s3cret"}, "its port cannot be read"),
    "events of no NATS": ({"EVENTS_URL": "http://s3cret"}, "must begin with nats:// or tls://"),
    "no port of NATS": ({"EVENTS_URL": "nats://u:s3cret@h:abc"}, "its port cannot be read"),
    "no such port of NATS": ({"EVENTS_URL": "nats://u:s3cret@h:99999"}, "its port cannot be read"),
    "an option that is no text": (
        {"DATABASE_URL": "postgresql+asyncpg://u:s3cret@h/{service}?statement_cache_size=0"},
        "can have no option statement_cache_size",
    ),
    "an option that is no number": (
        {"DATABASE_URL": "postgresql+asyncpg://u:s3cret@h/{service}?command_timeout=soon"},
        "must have for command_timeout a number",
    ),
    "no such way of TLS": (
        {"DATABASE_URL": "postgresql+asyncpg://u:s3cret@h/{service}?ssl=true"},
        "must have for ssl one of disable|allow|prefer|require|verify-ca|verify-full",
    ),
    "no such port of a database": ({"DATABASE_URL": "postgresql+asyncpg://u:s3cret@h:99999/{service}"}, "65535"),
    "port 0 of a database": ({"DATABASE_URL": "postgresql+asyncpg://u:s3cret@h:0/{service}"}, "65535"),
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


_OF_TEMPORAL: dict[str, tuple[dict[str, str], str]] = {
    "no port": ({"TEMPORAL_ADDRESS": "temporal"}, "TEMPORAL_ADDRESS: must be HOST:PORT, such as localhost:7233"),
    "no number": ({"TEMPORAL_ADDRESS": "temporal:grpc"}, "TEMPORAL_ADDRESS: must be HOST:PORT"),
    "no such port": ({"TEMPORAL_ADDRESS": "temporal:72330"}, "TEMPORAL_ADDRESS: must be HOST:PORT"),
    "a URL": ({"TEMPORAL_ADDRESS": "http://temporal:7233"}, "TEMPORAL_ADDRESS: must be HOST:PORT"),
    "neither true nor false": ({"TEMPORAL_TLS": "no"}, "TEMPORAL_TLS: must be true or false"),
    "neither on nor off": (
        {"TEMPORAL_TLS_DISABLE_HOST_VERIFICATION": "off"},
        "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION: must be true or false",
    ),
    "no such file": ({"TEMPORAL_TLS_SERVER_CA_CERT_PATH": "/no/ca.pem"}, "TEMPORAL_TLS_SERVER_CA_CERT_PATH: No such"),
    "no key": ({"TEMPORAL_TLS_CLIENT_CERT_DATA": "s3cret"}, "TEMPORAL_TLS_CLIENT_KEY_PATH: must be set too"),
    "no certificate": ({"TEMPORAL_TLS_CLIENT_KEY_DATA": "s3cret"}, "TEMPORAL_TLS_CLIENT_CERT_PATH: must be set too"),
    "no such profile": ({"TEMPORAL_PROFILE": "prod"}, "TEMPORAL_PROFILE: Profile 'prod' not found"),
    "no such profiles": ({"TEMPORAL_CONFIG_FILE": "/no/temporal.toml"}, "TEMPORAL_CONFIG_FILE: No such file"),
}


@pytest.mark.parametrize(("environment", "words"), _OF_TEMPORAL.values(), ids=_OF_TEMPORAL)
def test_a_malformed_setting_of_temporals_own_is_named_in_one_line(environment: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        connection.profile(environment)
    assert str(refused.value).startswith(words)
    assert "\n" not in str(refused.value)
    assert "s3cret" not in str(refused.value)


async def test_a_malformed_certificate_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    for name in ("CERT", "KEY"):
        monkeypatch.setenv(f"TEMPORAL_TLS_CLIENT_{name}_DATA", "s3cret")
    with pytest.raises(SettingsError, match=r"^TEMPORAL_TLS_\*: its certificate or private key is not in PEM$"):
        await connection.open_client(Settings.read({}))


def test_a_malformed_file_of_profiles_is_named_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "temporal.toml"
    for malformed in ("x = ", '[profile.default]\naddress = "temporal"'):
        path.write_text(malformed)
        with pytest.raises(SettingsError) as refused:
            connection.profile({"TEMPORAL_CONFIG_FILE": str(path)})
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("address", ["localhost:7233", "127.0.0.1:7233", "[::1]:7233", "my_temporal.example.com:443"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    assert connection.profile({"TEMPORAL_ADDRESS": address}) == {"target_host": address}


def test_an_empty_setting_of_temporals_own_counts_as_absent() -> None:
    """As an empty one of ours does: files of variables name those that are not needed too."""
    names = ["ADDRESS", "NAMESPACE", "API_KEY", "TLS", "TLS_CLIENT_CERT_PATH", "PROFILE", "CONFIG_FILE"]
    assert connection.profile({f"TEMPORAL_{name}": "" for name in names}) == connection.profile({})


@pytest.mark.parametrize(("given", "is_on"), [("true", True), ("1", True), ("False", False), ("0", False)])
def test_encryption_on_the_way_to_temporal_is_on_or_off(given: str, *, is_on: bool) -> None:
    assert (connection.profile({"TEMPORAL_TLS": given})["tls"] is not False) == is_on


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
