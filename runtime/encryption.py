"""Encryption of payloads and failures on their way to Temporal, so that the server stores only ciphertext.

The message and stack trace of a failure may quote a request, so they are encrypted too. Its type, a code, stays in
clear text, as do ids, names of operations and search attributes.
"""

import base64
import hashlib
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
_KEY_ID = "encryption-key-id"
"""The name in a payload's metadata that Temporal's own samples use."""
_KEY_ID_DIGITS = 16
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


def key_ids(keys: str) -> list[str]:
    """The ids of the keys in a `PAYLOAD_KEY`, in its order. They say nothing about the keys."""
    return [_id_of(key) for key in _split(keys)]


def _split(keys: str) -> list[bytes]:
    return [base64.urlsafe_b64decode(key) for key in keys.split(",")]


def _id_of(key: bytes) -> str:
    """A digest: every process derives the same id, and no operator has to give one."""
    return hashlib.sha256(b"payload-key:" + key).hexdigest()[:_KEY_ID_DIGITS]


class EncryptionCodec(PayloadCodec):
    """AES-256-GCM with the keys of a `PAYLOAD_KEY`, separated by commas: the first encrypts, all decrypt.

    A payload names its key by an id in the metadata. Payloads in clear text are read too, so that a key can be
    introduced later.

    Raises `SettingsError` for a payload that none of the keys can decrypt; the message has the id of its key.
    """

    def __init__(self, keys: str) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 — for those who have a key

        self._ciphers = {_id_of(key): AESGCM(key) for key in _split(keys)}
        self._writes_with = next(iter(self._ciphers))

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._encrypted(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._decrypted(payload) for payload in payloads]

    def _encrypted(self, payload: Payload) -> Payload:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._ciphers[self._writes_with].encrypt(nonce, payload.SerializeToString(), None)
        metadata = {"encoding": _ENCODING.encode(), _KEY_ID: self._writes_with.encode()}
        return Payload(metadata=metadata, data=sealed)

    def _decrypted(self, payload: Payload) -> Payload:
        if not is_encrypted(payload):
            return payload
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 — as above

        key_id = payload.metadata.get(_KEY_ID, b"without an id").decode(errors="replace")[:_KEY_ID_DIGITS]
        if key_id not in self._ciphers:
            raise SettingsError(f"PAYLOAD_KEY: another key, {key_id}, has encrypted what Temporal holds")
        nonce, sealed = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            return Payload.FromString(self._ciphers[key_id].decrypt(nonce, sealed, None))
        except (InvalidTag, ValueError) as error:  # the latter for a payload that was cut
            changed = f"PAYLOAD_KEY: what Temporal holds was changed: key {key_id} cannot decrypt it"
            raise SettingsError(changed) from error


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
