"""Encryption of payloads and failures on their way to Temporal, so that the server stores only ciphertext.

The message and stack trace of a failure may quote a request, so they are encrypted too. Its type, a code, stays in
clear text, as do ids, names of operations and search attributes.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import (
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    EncodingPayloadConverter,
    PayloadCodec,
    PayloadConverter,
)
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from runtime.settings import SettingsError

_ENCODING = "binary/encrypted"
_NONCE_BYTES = 12  # AES-GCM's own size (NIST SP 800-38D, 5.2.1.1)
_NO_KEY = "PAYLOAD_KEY: is not set, and what Temporal holds is encrypted"


class EncryptedFailures(DefaultFailureConverterWithEncodedAttributes):
    """Converter that moves a failure's message and stack trace into a payload, which the codec encrypts."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        super().to_failure(_without_trace(exception), payload_converter, failure)


def _without_trace(exception: BaseException) -> BaseException:
    """`exception`; a business end, such as a refusal, without its stack trace, which would hide its words."""
    if isinstance(exception, ApplicationError) and exception.category is ApplicationErrorCategory.BENIGN:
        return exception.with_traceback(None)
    return exception


def is_encrypted(payload: Payload) -> bool:
    return payload.metadata.get("encoding") == _ENCODING.encode()


class EncryptionCodec(PayloadCodec):
    """AES-256-GCM with one key. Payloads in clear text are read too, so that a key can be introduced later.

    Raises `SettingsError` for a payload that another key has encrypted.
    """

    def __init__(self, key: str) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 — for those who have a key

        self._cipher = AESGCM(base64.urlsafe_b64decode(key))

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._encrypted(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._decrypted(payload) for payload in payloads]

    def _encrypted(self, payload: Payload) -> Payload:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, payload.SerializeToString(), None)
        return Payload(metadata={"encoding": _ENCODING.encode()}, data=sealed)

    def _decrypted(self, payload: Payload) -> Payload:
        if not is_encrypted(payload):
            return payload
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 — as above

        nonce, sealed = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            return Payload.FromString(self._cipher.decrypt(nonce, sealed, None))
        except InvalidTag as error:
            raise SettingsError("PAYLOAD_KEY: another key has encrypted what Temporal holds") from error


class Sealed(EncodingPayloadConverter):
    """Converter of a process without a key: it raises `SettingsError` for an encrypted payload."""

    @property
    def encoding(self) -> str:
        return _ENCODING

    def to_payload(self, value: Any) -> None:
        """Write nothing: only the codec encrypts."""

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> NoReturn:  # noqa: ARG002 — the SDK's
        raise SettingsError(_NO_KEY)


class SealedFailures(DefaultFailureConverter):
    """Converter of a process without a key: it raises `SettingsError` for an encrypted failure.

    The SDK's own converter would ignore the encrypted payload and report `Encoded failure`.
    """

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        super().to_failure(_without_trace(exception), payload_converter, failure)

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        if is_encrypted(failure.encoded_attributes):
            raise SettingsError(_NO_KEY)
        return super().from_failure(failure, payload_converter)
