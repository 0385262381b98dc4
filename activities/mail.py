"""E-mail by SMTP (RFC 5321), with TLS, STARTTLS and authentication.

| what happens | then the message is |
|---|---|
| the connection, TLS, the login or MAIL FROM fails, with whatever code | not sent: that is about the server or the settings, not about the customer |
| RCPT TO or the content gets a 4xx (greylisting, a full disk) | not sent |
| RCPT TO or the content gets a 5xx | refused |
| no answer after DATA: a time-out, a lost connection | in doubt: the server may have taken it (RFC 1047) |
| 250 after the content | sent: the server is responsible for it now |
"""  # noqa: E501 — a row of a table is a line

import asyncio
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8

from aiosmtplib import SMTP as Connection  # noqa: N811 — beside the policy of that name
from aiosmtplib import SMTPException, SMTPResponseException

from activities.gateways import CONNECTIONS, Delivery
from activities.mail_content import mail_content
from activities.notification import DeliveryState
from contracts.gateways import Encryption, MailServer
from contracts.notification import Channel

ANSWER_S = 5.0
"""Time for one answer of the server. `activities.delivery.DELIVERY_S` bounds them all together."""
_QUIT_S = 1.0
"""Time for the answer to QUIT, on which nothing depends."""
_ABOUT_US = {421, 530, 534, 535, 538}
"""Codes about the server's health and about our login (RFC 4954), at whatever command."""
_DOMAIN = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


class SmtpGateway:
    channel = Channel.EMAIL
    drops_repeats = False
    """By its Message-ID a mailbox may recognize a second copy. Few do."""

    def __init__(self, server: MailServer) -> None:
        self._server = server
        self._tls = None if server.encryption is Encryption.NONE else ssl.create_default_context()

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        waiting = deque(deliveries)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(CONNECTIONS, len(waiting))):
                group.create_task(self._work(waiting))

    async def close(self) -> None:
        """Do nothing: no connection outlives its call."""

    async def _work(self, waiting: deque[Delivery]) -> None:
        """Send what waits over one connection, and over another when that is lost; end if none can be opened."""
        while waiting:
            current, count = waiting.popleft(), 0
            try:
                async with self._connected() as connection:
                    while True:
                        await self._send(connection, current)
                        count += 1
                        if not waiting or not connection.is_connected:
                            break
                        current = waiting.popleft()
            except (SMTPException, OSError) as error:
                if current.state is not DeliveryState.NOT_SENT:
                    continue
                if count:  # the server may end a connection after some messages: begin anew with this one
                    waiting.appendleft(current)
                    continue
                current.becomes(DeliveryState.NOT_SENT, f"the mail server does not take mail: {_words(error)}")
                return

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        """A connection that is ready for mail. Its end is said to the server only if all went well."""
        server = self._server
        connection = Connection(
            hostname=server.host,
            port=server.port,
            username=server.user or None,
            password=server.password or None,
            timeout=ANSWER_S,
            use_tls=server.encryption is Encryption.TLS,
            start_tls=server.encryption is Encryption.STARTTLS,
            tls_context=self._tls,
        )
        try:
            await connection.connect()
            yield connection
            with suppress(SMTPException):  # every answer that counts is there
                await connection.quit(timeout=_QUIT_S)
        finally:
            connection.close()

    async def _send(self, connection: Connection, delivery: Delivery) -> None:
        """Make one mail transaction. Raises the errors of a server that takes no mail at all."""
        try:
            recipient = _mailbox(delivery.claim.address)
        except ValueError as error:
            return delivery.becomes(DeliveryState.REFUSED, str(error))
        if connection.is_ehlo_or_helo_needed:
            await connection.ehlo()
        utf8 = not recipient.addr_spec.isascii()
        if utf8 and not connection.supports_extension("smtputf8"):
            return delivery.becomes(DeliveryState.REFUSED, "the mail server takes no address beyond ASCII (SMTPUTF8)")
        await connection.mail(self._server.sender, options=["SMTPUTF8"] if utf8 else [])
        try:
            await connection.rcpt(recipient.addr_spec, encoding="utf-8")
        except SMTPResponseException as error:
            delivery.becomes(_state_after(error.code), f"the mail server refused the recipient: {_words(error)}")
            if connection.is_connected:
                await connection.rset()
            return None
        # From here on the server may have the message, until it says what has become of it.
        delivery.becomes(DeliveryState.IN_DOUBT, "the mail server did not answer to the message")
        try:
            await connection.data(self._content(delivery, recipient))
        except SMTPResponseException as error:
            delivery.becomes(_state_after(error.code), f"the mail server refused the message: {_words(error)}")
        except (SMTPException, OSError) as error:
            delivery.becomes(DeliveryState.IN_DOUBT, f"the mail server did not answer to the message: {_words(error)}")
        else:
            delivery.becomes(DeliveryState.SENT)
        return None

    def _content(self, delivery: Delivery, recipient: Address) -> bytes:
        server, written = self._server, mail_content(delivery.story, delivery.request)
        mail = EmailMessage(policy=SMTP if recipient.addr_spec.isascii() else SMTPUTF8)
        mail["From"] = Address(server.sender_name, addr_spec=server.sender)
        mail["To"] = recipient
        mail["Subject"] = written.subject
        mail["Date"] = datetime.now(UTC)
        mail["Message-ID"] = f"<{delivery.key_hash}@{server.sender.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nothing is to answer it by itself
        mail.set_content(written.text, cte="quoted-printable")
        mail.add_alternative(written.html, subtype="html", cte="quoted-printable")
        return mail.as_bytes()


def _mailbox(address: str) -> Address:
    """The address in the form of the protocol, quoted where it must be. Raises `ValueError` if there is none."""
    local, _, domain = address.rpartition("@")
    try:
        domain = domain.encode("idna").decode()
    except UnicodeError:
        domain = ""
    if not _DOMAIN.fullmatch(domain) or not local.isprintable() or not local:
        raise ValueError("it is no address that mail can be sent to")
    return Address(username=local, domain=domain)


def _state_after(code: int) -> DeliveryState:
    """What became of a message that got `code` from 400 on; any other is no answer to it."""
    if code in _ABOUT_US or 400 <= code < 500:
        return DeliveryState.NOT_SENT
    return DeliveryState.REFUSED if 500 <= code < 600 else DeliveryState.IN_DOUBT


def _words(error: Exception) -> str:
    if isinstance(error, SMTPResponseException):
        return f"{error.code} {error.message}"
    return str(error) or type(error).__name__
