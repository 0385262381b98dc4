"""A mail server and an SMS webhook on the loopback, which answer as a test says and keep what they have taken."""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from contracts.gateways import MailServer, SmsWebhook, webhook_secret

SENDER = "shop@example.com"
USER, PASSWORD = "shop", "s3cret/?#"


@dataclass(frozen=True)
class Certificate:
    """A certificate for the loopback and its key, both in one file; it signs itself."""

    file: Path

    @classmethod
    def make(cls, folder: Path) -> Self:
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
        made = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = folder / "loopback.pem"
        file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
        return cls(file)

    @property
    def context(self) -> ssl.SSLContext:
        """The server's side of TLS."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.file)
        return context


Answer = str | Callable[[], Awaitable[str]]


@dataclass
class MailReceiver:
    """A real SMTP server. `to_rcpt` and `to_data` are its next answers; without any it takes all."""

    certificate: Certificate | None = None
    """With one it offers STARTTLS, and insists on it."""
    needs_login: bool = False
    utf8: bool = False
    to_rcpt: list[str] = field(default_factory=list)
    to_data: list[Answer] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)
    """The recipient of each RCPT."""
    envelopes: list[Envelope] = field(default_factory=list)
    """What was taken, and what came although no answer was given."""
    connections: list[SMTP] = field(default_factory=list)
    port: int = 0

    @asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Self]:
        """Listen within the block, with TLS from the first byte if there is a context for it."""
        server = await asyncio.get_running_loop().create_server(self._session, "127.0.0.1", self.port, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.lose_the_connection()

    def url(self, *, scheme: str = "smtp", starttls: str | None = "never", login: bool = False) -> str:
        account = f"{USER}:{quote(PASSWORD, safe='')}@" if login else ""
        option = f"&starttls={starttls}" if starttls else ""
        return f"{scheme}://{account}127.0.0.1:{self.port}?from=Shop%20<{SENDER}>{option}"

    def server(self, **how: Any) -> MailServer:
        return MailServer.parse(self.url(**how))

    def mails(self) -> list[EmailMessage]:
        """The messages of the envelopes."""
        parsed = [message_from_bytes(bytes(each.original_content or b""), policy=default) for each in self.envelopes]
        return [mail for mail in parsed if isinstance(mail, EmailMessage)]

    def lose_the_connection(self) -> None:
        """Close the connections without an answer."""
        for connection in self.connections:
            if isinstance(connection.transport, asyncio.Transport):
                connection.transport.abort()

    async def handle_RCPT(self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]) -> str:  # noqa: N802 — aiosmtpd's name
        self.attempts.append(address)
        answer = self.to_rcpt.pop(0) if self.to_rcpt else "250 OK"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802 — as above
        answer = self.to_data.pop(0) if self.to_data else "250 OK"
        if isinstance(answer, str):
            if answer.startswith("250"):
                self.envelopes.append(envelope)
            return answer
        self.envelopes.append(envelope)
        return await answer()

    def _session(self) -> SMTP:
        connection = SMTP(
            self,
            hostname="loopback",
            enable_SMTPUTF8=self.utf8,
            tls_context=self.certificate.context if self.certificate else None,
            require_starttls=self.certificate is not None,
            auth_required=self.needs_login,
            auth_require_tls=self.certificate is not None,
            authenticator=_knows,
            loop=asyncio.get_running_loop(),
        )
        self.connections.append(connection)
        return connection


def _knows(_: SMTP, __: Session, ___: Envelope, ____: str, login: Any) -> AuthResult:
    is_known = isinstance(login, LoginPassword) and (login.login, login.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=is_known, handled=is_known)


@dataclass
class SmsReceiver:
    """A real HTTP server that takes SMS, once for each idempotency key. `answers` are its next ones, then 200."""

    encoded_secret: str = field(default_factory=lambda: "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    answers: list[int | Callable[[], int]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    """The idempotency key of each request."""
    sent: dict[str, dict[str, str]] = field(default_factory=dict)
    """The messages that it has sent on, by idempotency key."""
    unsigned: list[str] = field(default_factory=list)
    """The keys of requests whose signature is not that of the secret, the time and the body."""
    port: int = 0

    @contextmanager
    def listening(self) -> Iterator[Self]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver.take(dict(self.headers), body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        with ThreadingHTTPServer(("127.0.0.1", self.port), Handler) as server:
            self.port = server.server_port
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            yield self
            server.shutdown()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/sms?token=hidden"

    @property
    def webhook(self) -> SmsWebhook:
        return SmsWebhook(self.url, webhook_secret(self.encoded_secret))

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """The status for a request; a message is sent on unless the answer refuses it."""
        key = headers["Idempotency-Key"]
        self.keys.append(key)
        secret = base64.b64decode(self.encoded_secret.removeprefix("whsec_"))
        signed = f"{headers['Webhook-Id']}.{headers['Webhook-Timestamp']}.".encode() + body
        expected = "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        if not hmac.compare_digest(expected, headers["Webhook-Signature"]):
            self.unsigned.append(key)
            return 401
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, int) and not 200 <= answer < 300:
            return answer
        self.sent.setdefault(key, json.loads(body))
        return answer if isinstance(answer, int) else answer()
