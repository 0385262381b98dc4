"""E-mail over a real SMTP server: encryption, login, what is refused for good and what is tried again."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from activities import mail
from activities.gateways import Delivery
from activities.mail import SmtpGateway
from activities.notification import DeliveryRecord, DeliveryState
from contracts.gateways import MailServer
from contracts.notification import Channel
from contracts.order import OrderState

from .receivers import PASSWORD, Certificate, MailReceiver
from .requests import TX, notice

_NOW = datetime.now(UTC)


def _delivery(address: str = "ada@example.org", number: int = 1) -> Delivery:
    row = DeliveryRecord(f"{TX}{number}", OrderState.CONFIRMED, Channel.EMAIL, address, DeliveryState.SENDING, "", _NOW)
    return Delivery(row, notice())


async def _deliver(server: MailServer, address: str = "ada@example.org") -> tuple[DeliveryState, str | None]:
    delivery = _delivery(address)
    await SmtpGateway(server).deliver([delivery])
    return delivery.state, delivery.problem


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate.make(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def trusted(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """The certificate, which this process trusts as an operator makes it trust one."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
    return certificate


@pytest.fixture
async def post() -> AsyncIterator[MailReceiver]:
    async with MailReceiver().listening() as receiver:
        yield receiver


async def test_a_mail_goes_over_starttls_with_a_login(trusted: Certificate) -> None:
    async with MailReceiver(trusted, needs_login=True).listening() as post:
        assert await _deliver(post.server(starttls=None, login=True)) == (DeliveryState.SENT, None)
        session = post.connections[-1].session
        assert session is not None
        assert session.ssl
        assert len(post.mails()) == 1


async def test_a_mail_goes_over_tls_from_the_first_byte(trusted: Certificate) -> None:
    async with MailReceiver().listening(tls=trusted.context) as post:
        assert await _deliver(post.server(scheme="smtps", starttls=None)) == (DeliveryState.SENT, None)


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_certificate_that_is_not_trusted_gets_no_mail(certificate: Certificate, scheme: str) -> None:
    tls = certificate.context if scheme == "smtps" else None
    async with MailReceiver(None if tls else certificate).listening(tls=tls) as post:
        state, words = await _deliver(post.server(scheme=scheme, starttls=None))
    assert state is DeliveryState.NOT_SENT
    assert "certificate verify failed" in str(words)
    assert post.envelopes == []


async def test_a_server_without_starttls_gets_no_mail_and_no_password(post: MailReceiver) -> None:
    state, words = await _deliver(post.server(starttls="required", login=True))
    assert (state, post.attempts) == (DeliveryState.NOT_SENT, [])
    assert "STARTTLS extension not supported" in str(words)


async def test_a_refused_login_is_no_refusal_of_the_customer(trusted: Certificate) -> None:
    async with MailReceiver(trusted, needs_login=True).listening() as post:
        url = post.url(starttls=None, login=True).replace("shop:", "intruder:")
        state, words = await _deliver(MailServer.parse(url))
        assert state is DeliveryState.NOT_SENT
        assert str(words).startswith("the mail server does not take mail: 535 5.7.8")
        assert PASSWORD not in str(words)
        state, words = await _deliver(post.server(starttls=None))
        assert (state, post.envelopes) == (DeliveryState.NOT_SENT, [])
        assert "530" in str(words)


async def test_a_server_that_is_not_there_is_tried_again() -> None:
    state, words = await _deliver(MailServer.parse("smtp://127.0.0.1:1?from=shop@example.com"))
    assert state is DeliveryState.NOT_SENT
    assert str(words).startswith("the mail server does not take mail: ")


async def test_a_server_that_never_greets_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "ANSWER_S", 0.2)

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"smtp://127.0.0.1:{port}?from=shop@example.com"
        async with asyncio.timeout(3):
            state, _ = await _deliver(MailServer.parse(url))
    assert state is DeliveryState.NOT_SENT


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("451 4.3.0 try again", DeliveryState.NOT_SENT),
        ("552 5.2.2 mailbox full", DeliveryState.REFUSED),
        ("554 5.6.0 no such content here", DeliveryState.REFUSED),
        ("421 4.3.2 going down", DeliveryState.NOT_SENT),
    ],
)
async def test_an_answer_to_the_content_says_what_became_of_it(
    post: MailReceiver, answer: str, state: DeliveryState
) -> None:
    post.to_data.append(answer)
    assert await _deliver(post.server()) == (state, f"the mail server refused the message: {answer}")


async def test_a_server_that_ends_its_connections_early_gets_no_mail_twice(post: MailReceiver) -> None:
    async def last_one() -> str:
        asyncio.get_running_loop().call_later(0.05, post.lose_the_connection)
        return "250 OK"

    post.to_data += [last_one, last_one]
    deliveries = [_delivery(number=number) for number in range(25)]
    await SmtpGateway(post.server()).deliver(deliveries)
    became = Counter(each.state for each in deliveries)
    assert became[DeliveryState.REFUSED] == 0
    ids = [sent["Message-ID"] for sent in post.mails()]
    assert len(ids) == len(set(ids))
    assert 0 < became[DeliveryState.SENT] <= len(ids) <= became[DeliveryState.SENT] + became[DeliveryState.IN_DOUBT]


async def test_a_mail_has_the_same_message_id_in_every_attempt_and_no_other_mail_has_it(post: MailReceiver) -> None:
    await _deliver(post.server())
    await _deliver(post.server())
    await SmtpGateway(post.server()).deliver([_delivery(number=2)])
    first, again, other = (sent["Message-ID"] for sent in post.mails())
    assert first == again != other
    assert str(first).endswith("@example.com>")


@pytest.mark.parametrize(
    "address",
    [
        "ada@example.org\r\nBcc: eve@example.org",
        "ada@example.org>\r\nRCPT TO:<eve@example.org",
        "ada\r\nBcc:eve@example.org",
        "ada@exam ple.org",
        "ada@example.org,eve",
        "ada@-_.org>",
        "@example.org",
        "ada@[127.0.0.1]",
    ],
)
async def test_an_address_that_would_say_more_than_one_recipient_is_refused(post: MailReceiver, address: str) -> None:
    state, words = await _deliver(post.server(), address)
    assert (state, words) == (DeliveryState.REFUSED, "it is no address that mail can be sent to")
    assert post.attempts == []


@pytest.mark.parametrize("local", ["ada,eve", "ada<eve>", 'ada"eve', "ada;eve", "(ada)eve", "ada:eve"])
async def test_a_local_part_of_special_characters_stays_one_recipient(post: MailReceiver, local: str) -> None:
    state, _ = await _deliver(post.server(), f"{local}@example.org")
    if state is DeliveryState.SENT:
        [sent] = post.mails()
        [recipient] = sent["To"].addresses
        assert (recipient.username, recipient.domain) == (local, "example.org")
    assert state in (DeliveryState.SENT, DeliveryState.REFUSED)


async def test_an_address_beyond_ascii_needs_a_server_that_takes_it(post: MailReceiver) -> None:
    state, words = await _deliver(post.server(), "zoë@example.org")
    assert (state, post.attempts) == (DeliveryState.REFUSED, [])
    assert "SMTPUTF8" in str(words)
    async with MailReceiver(utf8=True).listening() as modern:
        assert await _deliver(modern.server(), "zoë@example.org") == (DeliveryState.SENT, None)
        assert modern.attempts == ["zoë@example.org"]
    assert (await _deliver(post.server(), "ada@bücher.example"))[0] is DeliveryState.SENT
    assert post.attempts == ["ada@xn--bcher-kva.example"]
