"""`PAYLOAD_KEY` with several keys: the first encrypts, all decrypt, and a payload names its key."""

import base64
import os

import pytest
from temporalio.api.common.v1 import Payload

from runtime.encryption import EncryptionCodec, key_ids
from runtime.settings import Settings, SettingsError

_CLEAR = Payload(metadata={"encoding": b"json/plain"}, data=b'"Ada"')


def _key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


OLD, NEW = _key(), _key()


async def _written(keys: str) -> Payload:
    [payload] = await EncryptionCodec(keys).encode([_CLEAR])
    return payload


async def _read(keys: str, payload: Payload) -> Payload:
    [read] = await EncryptionCodec(keys).decode([payload])
    return read


async def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    while_rotating = await _written(f"{NEW},{OLD}")
    assert await _read(NEW, while_rotating) == _CLEAR
    assert await _read(f"{OLD},{NEW}", while_rotating) == _CLEAR
    assert await _read(f"{NEW},{OLD}", await _written(OLD)) == _CLEAR
    with pytest.raises(SettingsError):
        await _read(OLD, while_rotating)


async def test_an_unknown_key_is_told_in_one_line_with_its_id_and_without_a_key() -> None:
    [unknown] = key_ids(OLD)
    with pytest.raises(SettingsError) as refused:
        await _read(NEW, await _written(OLD))
    assert str(refused.value) == f"PAYLOAD_KEY: another key, {unknown}, has encrypted what Temporal holds"
    assert not any(key in unknown for key in (OLD, NEW))


@pytest.mark.parametrize("keep", [0, 5, 40])
async def test_a_payload_that_was_changed_is_told_as_that_and_not_as_one_of_another_key(keep: int) -> None:
    payload = await _written(OLD)
    payload.data = payload.data[:keep]
    with pytest.raises(SettingsError, match=r"^PAYLOAD_KEY: what Temporal holds was changed: key \w{16} cannot"):
        await _read(OLD, payload)


async def test_a_key_id_from_outside_cannot_make_a_message_of_any_length() -> None:
    payload = await _written(OLD)
    payload.metadata["encryption-key-id"] = b"\xff" * 10_000
    with pytest.raises(SettingsError) as refused:
        await _read(OLD, payload)
    assert len(str(refused.value)) < 100


def test_keys_may_have_blanks_around_them_and_are_not_in_the_settings_own_text() -> None:
    settings = Settings.read({"PAYLOAD_KEY": f"{NEW} , {OLD}", "CODEC_TOKEN": "a-token-of-the-codec"})
    assert settings.payload_key == f"{NEW},{OLD}"
    assert not any(secret in repr(settings) for secret in (NEW, OLD, "a-token"))


@pytest.mark.parametrize(
    ("given", "words"),
    {
        "c2hvcnQ=": "PAYLOAD_KEY: must be 32 bytes",
        f"{NEW},c2hvcnQ=": "PAYLOAD_KEY: key 2 of 2 must be 32 bytes",
        f"{NEW},": "PAYLOAD_KEY: key 2 of 2 must be 32 bytes",
        f"c2hvcnQ,{NEW}": "PAYLOAD_KEY: key 1 of 2 must be URL-safe base64",
    }.items(),
    ids=["too short", "the second too short", "a comma at the end", "the first no base64"],
)
def test_a_malformed_key_is_named_by_its_place_and_not_shown(given: str, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read({"PAYLOAD_KEY": given})
    assert str(refused.value).startswith(words)
    assert not any(key in str(refused.value) for key in (NEW, "c2hvcnQ"))
