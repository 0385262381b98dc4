"""The codec server: what it answers, and whom."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from runtime import codec_server
from runtime.codec_server import CodecServer
from runtime.embedded import free_port
from runtime.settings import Settings, SettingsError

from ..end_to_end.command import Program

ROOT = Path(__file__).parents[2]
_WEB_UI, _ELSEWHERE = "http://127.0.0.1:8233", "http://evil.example.com"
_TOKEN = "a-token-of-the-codec"  # noqa: S105 — of this test
_CLEAR = {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "IkFkYSI="}]}


def _key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


@asynccontextmanager
async def _serving(key: str | None = None, token: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    server = CodecServer.of(Settings(payload_key=key or _key(), codec_token=token), [_WEB_UI])
    async with (
        server.listening("127.0.0.1", free_port()) as address,
        httpx.AsyncClient(base_url=address, timeout=20) as client,
    ):
        yield client


async def test_what_it_encodes_it_decodes_in_the_json_of_payloads() -> None:
    async with _serving() as client:
        encoded = await client.post("/encode", json=_CLEAR)
        assert (encoded.status_code, encoded.headers["content-type"]) == (200, "application/json")
        [payload] = encoded.json()["payloads"]
        assert base64.b64decode(payload["metadata"]["encoding"]) == b"binary/encrypted"
        decoded = await client.post("/decode?preserveStorageRefs=true", json=encoded.json())  # as the Web UI asks
        assert (decoded.status_code, decoded.json()) == (200, _CLEAR)
        assert decoded.headers["cache-control"] == "no-store"


async def test_a_payload_of_an_unknown_key_is_refused_with_the_id_of_its_key() -> None:
    async with _serving() as first, _serving() as second:
        answer = await second.post("/decode", json=(await first.post("/encode", json=_CLEAR)).json())
        assert answer.status_code == 400
        assert answer.text.startswith("PAYLOAD_KEY: another key, ")


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xfe", b"{", b"3", b'{"payloads": [{"data": "A"}]}', b'{"other": 1}', b"[" * 100_000],
    ids=["nothing", "no text", "half", "a number", "no base64", "another field", "deep"],
)
async def test_a_body_that_is_not_the_json_of_payloads_is_refused(body: bytes) -> None:
    async with _serving() as client:
        answer = await client.post("/decode", content=body)
        assert (answer.status_code, answer.text.count("\n")) == (400, 1)
        assert "temporal.api.common.v1.Payloads" in answer.text


async def test_only_the_origin_of_the_web_ui_is_answered_and_named() -> None:
    async with _serving() as client:
        cors = "access-control-allow-origin"
        for origin, status in ((_WEB_UI, 200), (_ELSEWHERE, 403), ("null", 403)):
            answer = await client.post("/decode", json=_CLEAR, headers={"Origin": origin})
            assert (answer.status_code, answer.headers.get(cors)) == (status, _WEB_UI if status == 200 else None)
            asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            preflight = await client.options("/decode", headers=asked)
            assert (preflight.is_success, preflight.headers.get(cors)) == (status == 200, answer.headers.get(cors))
            assert ("access-control-allow-headers" in preflight.headers) == (status == 200)
        assert cors not in (await client.post("/decode", json=_CLEAR)).headers


@pytest.mark.parametrize("said", [None, "Bearer another", f"Basic {_TOKEN}", f"Bearer {_TOKEN}x", "Bearer"])
async def test_a_missing_or_wrong_token_is_refused_also_for_the_web_ui(said: str | None) -> None:
    async with _serving(token=_TOKEN) as client:
        given = {} if said is None else {"Authorization": said}
        refused = await client.post("/decode", json=_CLEAR, headers=given | {"Origin": _WEB_UI})
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert _TOKEN not in refused.text
        right = await client.post("/decode", json=_CLEAR, headers={"Authorization": f"Bearer {_TOKEN}"})
        assert (right.status_code, right.json()) == (200, _CLEAR)


async def test_there_is_nothing_else() -> None:
    async with _serving() as client:
        for path in ("/", "/decode/", "/decode/x", "/metrics"):
            assert (await client.post(path, json=_CLEAR)).status_code == 404
        for method in ("GET", "HEAD", "PUT", "OPTIONS"):
            assert (await client.request(method, "/decode")).status_code == 405


async def test_a_request_that_is_too_large_is_refused_with_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_server, "_MAX_BODY_BYTES", 100_000)
    async with _serving() as client:
        assert (await client.post("/decode", content=bytes(100_001))).status_code == 413
        assert (await client.post("/decode", content=bytes(10_000_000))).status_code == 413
        assert (await client.post("/decode", json=_CLEAR)).status_code == 200


async def test_a_client_that_says_nothing_or_something_else_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_server, "_TIMEOUT_S", 0.2)
    monkeypatch.setattr(codec_server, "_MAX_CONNECTIONS", 1)
    async with _serving() as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"POST /decode HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        await writer.drain()
        with pytest.raises(httpx.TransportError):  # the one connection is taken
            await client.post("/decode", json=_CLEAR)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"EHLO x\r\n\r\n")
        assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_without_a_token_it_listens_on_the_loopback_only() -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::"):  # noqa: S104 — to be refused
        with pytest.raises(SettingsError, match=r"^CODEC_TOKEN: must be set to listen on"):
            async with CodecServer.of(Settings(payload_key=_key()), [_WEB_UI]).listening(host, free_port()):
                raise AssertionError(host)


def _program(*words: str, **environment: str) -> Program:
    inherited = {name: value for name, value in os.environ.items() if name not in ("PAYLOAD_KEY", "CODEC_TOKEN")}
    return Program(words, ROOT, inherited | environment)


def test_the_program_says_where_it_listens_and_ends_with_sigterm() -> None:
    port = free_port()
    program = _program("codec.py", "--port", str(port), "--host", "0.0.0.0", PAYLOAD_KEY=_key(), CODEC_TOKEN=_TOKEN)  # noqa: S104 — with a token
    assert program.until_ready().startswith(f"ready: codec at http://0.0.0.0:{port} for http://127.0.0.1:8233, ")
    answer = httpx.post(f"http://127.0.0.1:{port}/encode", json=_CLEAR, headers={"Authorization": f"Bearer {_TOKEN}"})
    assert answer.status_code == 200
    assert program.end() == 0


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        ((), {}, "PAYLOAD_KEY: must be set"),
        (("--origin", "http://127.0.0.1:8233/"), {"PAYLOAD_KEY": _key()}, "--origin http://127.0.0.1:8233/: must be"),
        (("--host", "localhost"), {"PAYLOAD_KEY": _key()}, "--host localhost: must be an IP address"),
        ((), {"PAYLOAD_KEY": _key(), "CODEC_TOKEN": "short"}, "CODEC_TOKEN: must be at least 16 printable"),
    ],
)
def test_what_is_malformed_ends_the_program_with_one_line(
    options: tuple[str, ...], environment: dict[str, Any], words: str
) -> None:
    answer = _program("codec.py", *options, **environment).answer()
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert answer.err.startswith(f"error: {words}")


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        ((), {}, "--codec-port: goes with --embedded; for another server, run `python codec.py`"),
        (("--embedded",), {}, "PAYLOAD_KEY: must be set"),
        (("--embedded",), {"PAYLOAD_KEY": _key(), "CODEC_TOKEN": _TOKEN}, "CODEC_TOKEN: the Web UI cannot send it"),
    ],
)
def test_a_worker_serves_the_codec_only_for_its_own_web_ui(
    options: tuple[str, ...], environment: dict[str, Any], words: str
) -> None:
    answer = _program("worker.py", "--codec-port", str(free_port()), *options, **environment).answer()
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert answer.err.startswith(f"error: {words}")
