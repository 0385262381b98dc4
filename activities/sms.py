"""SMS by a webhook: an HTTP POST for each message, signed as Standard Webhooks (standardwebhooks.com) says.

The receiver must take a repeated `Idempotency-Key` for the same message and send it once. Without an answer the same
request therefore comes again.

| answer | then the message is |
|---|---|
| 2xx | sent |
| none in time, 3xx, 5xx, and a 4xx about the address of the webhook, the signature or the load | not sent |
| any other 4xx | refused |
"""

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import Sequence
from http import HTTPStatus

import httpx

from activities.gateways import CONNECTIONS, Delivery
from activities.notification import DeliveryState
from activities.wording import sentence
from contracts.gateways import SmsWebhook
from contracts.notification import Channel

ANSWER_S = 5.0
"""Time for each part of an answer. `activities.delivery.DELIVERY_S` bounds the whole."""
_ABOUT_US = {
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,  # the same key is under way
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}


class WebhookGateway:
    channel = Channel.SMS
    drops_repeats = True

    def __init__(self, webhook: SmsWebhook) -> None:
        self._webhook = webhook
        limits = httpx.Limits(max_connections=CONNECTIONS)
        self._client = httpx.AsyncClient(verify=ssl.create_default_context(), timeout=ANSWER_S, limits=limits)
        self._free = asyncio.Semaphore(CONNECTIONS)

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        async with asyncio.TaskGroup() as group:
            for delivery in deliveries:
                group.create_task(self._send(delivery))

    async def close(self) -> None:
        await self._client.aclose()

    async def _send(self, delivery: Delivery) -> None:
        async with self._free:
            text = sentence(delivery.story, delivery.request)
            body = json.dumps({"to": delivery.claim.address, "text": text}).encode()
            delivery.becomes(DeliveryState.NOT_SENT, "the SMS webhook did not answer in time")
            try:
                answer = await self._client.post(self._webhook.url, content=body, headers=self._headers(delivery, body))
            except httpx.HTTPError as error:
                return delivery.becomes(DeliveryState.NOT_SENT, f"the SMS webhook did not answer: {_words(error)}")
        if answer.is_success:
            return delivery.becomes(DeliveryState.SENT)
        is_final = answer.is_client_error and answer.status_code not in _ABOUT_US
        state = DeliveryState.REFUSED if is_final else DeliveryState.NOT_SENT
        return delivery.becomes(state, f"the SMS webhook answered {answer.status_code} {answer.reason_phrase}")

    def _headers(self, delivery: Delivery, body: bytes) -> dict[str, str]:
        now = str(int(time.time()))
        signed = f"{delivery.key_hash}.{now}.".encode() + body
        signature = base64.b64encode(hmac.digest(self._webhook.secret, signed, hashlib.sha256)).decode()
        return {
            "Content-Type": "application/json",
            "Idempotency-Key": delivery.key_hash,
            "Webhook-Id": delivery.key_hash,
            "Webhook-Timestamp": now,
            "Webhook-Signature": f"v1,{signature}",
        }


def _words(error: httpx.HTTPError) -> str:
    """The kind of the error, and its words where they cannot quote the URL."""
    return f"{type(error).__name__} {error}" if isinstance(error, httpx.TransportError) else type(error).__name__
