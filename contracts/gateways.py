"""Where messages leave the system: the mail server and the SMS webhook, as the settings name them.

Every parser raises a `ValueError` that says what is wrong and never quotes the value, which holds a password.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from email.utils import parseaddr
from enum import Enum
from ipaddress import ip_address
from typing import Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_PORTS = {"smtp": 587, "smtps": 465}
"""Message submission with STARTTLS (RFC 6409) and with TLS from the first byte (RFC 8314)."""
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_PREFIX = "whsec_"
_QUOTED = "write / ? # @ : % in a password as %2F %3F %23 %40 %3A %25"


class Encryption(Enum):
    """How a connection to the mail server is encrypted."""

    TLS = "tls"
    """From the first byte."""
    STARTTLS = "starttls"
    """After STARTTLS. A server that does not offer it is not used."""
    NONE = "none"


@dataclass(frozen=True)
class MailServer:
    """A mail server that takes messages for any recipient."""

    host: str
    port: int
    encryption: Encryption
    sender: str
    sender_name: str = ""
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """The server at `smtp://user:password@host:587?from=shop@example.com&starttls=required`, or at `smtps://…`."""
        parts = split_url(url, tuple(_PORTS))
        options = _options(parts, {"from", "starttls"})
        written = options.get("from", "")
        name, sender = parseaddr(written)
        if not _ADDRESS.fullmatch(sender) or not written.isprintable():
            raise ValueError("needs the sender's address: ?from=shop@example.com")
        if parts.path not in ("", "/") or parts.fragment:
            raise ValueError(f"must have nothing after the port but ?from=…; {_QUOTED}")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if bool(user) != bool(password):
            raise ValueError("needs both, user and password, or neither")
        server = cls(
            host=parts.hostname or "",
            port=parts.port or _PORTS[parts.scheme],
            encryption=_encryption(parts.scheme, options),
            sender=sender,
            sender_name=name,
            user=user,
            password=password,
        )
        if user and server.encryption is Encryption.NONE and not _is_loopback(server.host):
            raise ValueError("would send the password in clear text: leave starttls=never out")
        return server


@dataclass(frozen=True)
class SmsWebhook:
    """An HTTP endpoint that takes SMS. The URL may contain a token, so it is not shown."""

    url: str = field(repr=False)
    secret: bytes = field(repr=False)


def web_url(url: str) -> str:
    """`url`, which must be one of HTTP or HTTPS."""
    split_url(url, ("http", "https"))
    return url


def webhook_secret(encoded: str) -> bytes:
    """The key of `whsec_…`, the form of Standard Webhooks: 24 to 64 bytes in base64."""
    try:
        key = base64.b64decode(encoded.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not encoded.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(f"must be {_PREFIX} and 24 to 64 bytes in base64, such as `openssl rand -base64 32` prints")
    return key


def split_url(url: str, schemes: tuple[str, ...]) -> SplitResult:
    """The parts of an URL with a host. It may have no character that `urlsplit` would drop without a word."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must be a URL of printable ASCII characters; write any other percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"is not a URL: its host or its port cannot be read; {_QUOTED}") from None
    if parts.scheme not in schemes:
        raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if not parts.hostname or port == 0:
        raise ValueError("needs a host, and a port from 1 to 65535 if it names one")
    return parts


def _options(parts: SplitResult, known: set[str]) -> dict[str, str]:
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else []
    except ValueError:
        raise ValueError("has options that cannot be read: write ?from=…&starttls=…") from None
    names = [name for name, _ in pairs]
    if unknown := sorted(set(names) - known):
        raise ValueError(f"has no option {unknown[0]!r}, only {' and '.join(sorted(known))}")
    if len(set(names)) < len(names):
        raise ValueError("has an option twice")
    return dict(pairs)


def _encryption(scheme: str, options: dict[str, str]) -> Encryption:
    if scheme == "smtps":
        if "starttls" in options:
            raise ValueError("has no use for starttls: smtps:// is encrypted from the first byte")
        return Encryption.TLS
    match options.get("starttls", "required"):
        case "required":
            return Encryption.STARTTLS
        case "never":
            return Encryption.NONE
    raise ValueError("must have starttls=required, the default, or starttls=never")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
