"""The codec server: decrypts payloads for people, in the Web UI and with `temporal --codec-endpoint`.

It speaks Temporal's remote codec protocol: POST /decode and /encode, whose body and answer are the JSON of `Payloads`.
It holds the keys, so it says who may ask:

- With a token, a request needs it (`Authorization: Bearer …`); without one, the server listens on the loopback only.
- A request with an `Origin`, which every browser sends, is answered only for the origins of the Web UI. A page that
  resolves its own name to this host is refused by that too.
"""

import asyncio
import hmac
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Self

import h11
import structlog
from google.protobuf import json_format
from temporalio.api.common.v1 import Payloads
from temporalio.converter import PayloadCodec

from runtime.encryption import EncryptionCodec
from runtime.settings import Settings, SettingsError
from runtime.visible import visible

DEFAULT_PORT = 8888
_MAX_BODY_BYTES = 8 * 2**20
"""Limit on a request: Temporal's own on a message, 4 MiB, in base64, and some room."""
_MAX_CONNECTIONS = 32
"""A person has a few; with the limit on a request it bounds the memory."""
_TIMEOUT_S = 15
"""For a request to arrive and its answer to be taken, and for the pause between two requests of a connection."""
_CHUNK_BYTES = 65_536
_PREFLIGHT_S = "600"

_log = structlog.stdlib.get_logger("codec")
Headers = list[tuple[str, str]]


def web_ui_origins(port: int) -> list[str]:
    """The origins of a Web UI on this host, by either name of the loopback."""
    return [f"http://127.0.0.1:{port}", f"http://localhost:{port}"]


def checked_origin(origin: str) -> str:
    """`origin` as a browser sends it. Raises `SettingsError`."""
    if not re.fullmatch(r"https?://[a-z0-9.-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?", origin):
        remedy = "must be the scheme, host and port of the Web UI, such as http://127.0.0.1:8233, and no path"
        raise SettingsError(f"--origin {origin}: {remedy}")
    return origin


class _Refused(Exception):
    """The request gets no payloads: a status, and a line that says why."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class CodecServer:
    """`origins` are those of the Web UI, such as `http://127.0.0.1:8233`."""

    codec: PayloadCodec
    origins: Sequence[str]
    token: str | None = None
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    def of(cls, settings: Settings, origins: Sequence[str]) -> Self:
        """The server with the keys and the token of `settings`. Raises `SettingsError` if there is no key."""
        if settings.payload_key is None:
            raise SettingsError("PAYLOAD_KEY: must be set: without it there is nothing to decrypt")
        return cls(EncryptionCodec(settings.payload_key), tuple(origins), settings.codec_token)

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[str]:
        """Answer requests within the block; the address. Raises `SettingsError` for a host or port it cannot use."""
        try:
            is_loopback = ip_address(host).is_loopback
        except ValueError as error:
            raise SettingsError(f"--host {host}: must be an IP address of this host, such as 127.0.0.1") from error
        if self.token is None and not is_loopback:
            raise SettingsError(f"CODEC_TOKEN: must be set to listen on {host}, which is not the loopback")
        try:
            server = await asyncio.start_server(self._accept, host, port)
        except OSError as error:
            raise SettingsError(f"the codec server cannot listen on {host} port {port}: {error.strerror}") from error
        try:
            yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 — a stream's callback runs in a task of its own
        self._connections.add(task)
        try:
            if len(self._connections) <= _MAX_CONNECTIONS:
                # The client has gone, or says nothing, or the server stops: a cancelled callback would be an error.
                with suppress(TimeoutError, OSError, asyncio.CancelledError):
                    await _Connection(reader, writer, self).serve()
        finally:
            self._connections.discard(task)
            writer.close()

    async def answer(self, request: h11.Request, body: bytes) -> tuple[HTTPStatus, Headers, bytes]:
        """The answer to a request: its status, its headers and its body."""
        given = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        path, origin = request.target.decode("latin-1").partition("?")[0], given.get("origin")
        cors: Headers = [("Vary", "Origin")]
        if origin is not None and origin in self.origins:
            cors.append(("Access-Control-Allow-Origin", origin))
        is_preflight = request.method == b"OPTIONS" and origin is not None
        try:
            self._admit(path, origin)
            if is_preflight:
                return HTTPStatus.NO_CONTENT, [*cors, *_PREFLIGHT], b""
            self._authorize(request.method, given.get("authorization", ""))
            return HTTPStatus.OK, [*cors, _JSON], await self._coded(path, body)
        except _Refused as refused:
            _log.warning("request refused", path=path[:80], status=int(refused.status), why=str(refused))
            told = [("WWW-Authenticate", "Bearer")] if refused.status is HTTPStatus.UNAUTHORIZED else []
            return refused.status, [*cors, *told, _TEXT], f"{refused}\n".encode()

    def _admit(self, path: str, origin: str | None) -> None:
        if origin is not None and origin not in self.origins:
            raise _Refused(HTTPStatus.FORBIDDEN, "this origin may not ask; see --origin")
        if path not in ("/encode", "/decode"):
            raise _Refused(HTTPStatus.NOT_FOUND, "there is only POST /encode and POST /decode")

    def _authorize(self, method: bytes, authorization: str) -> None:
        if method != b"POST":
            raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, "there is only POST")
        expected = f"Bearer {self.token}".encode()
        if self.token is not None and not hmac.compare_digest(authorization.encode(), expected):
            raise _Refused(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong; see CODEC_TOKEN")

    async def _coded(self, path: str, body: bytes) -> bytes:
        try:
            given = json_format.Parse(body, Payloads())
        except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
            raise _Refused(
                HTTPStatus.BAD_REQUEST, "the body is not the JSON of temporal.api.common.v1.Payloads"
            ) from error
        code = self.codec.encode if path == "/encode" else self.codec.decode
        try:
            payloads = await code(given.payloads)
        except SettingsError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, visible(str(error))) from error
        return json_format.MessageToJson(Payloads(payloads=payloads), indent=None).encode()


_JSON = ("Content-Type", "application/json")
_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_PREFLIGHT = [
    ("Access-Control-Allow-Methods", "POST"),
    ("Access-Control-Allow-Headers", "Content-Type, X-Namespace, Authorization, Authorization-Extras"),
    ("Access-Control-Max-Age", _PREFLIGHT_S),
]


class _Connection:
    """One connection: HTTP/1.1 by h11, one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: CodecServer) -> None:
        self._reader, self._writer, self._server = reader, writer, server
        self._http = h11.Connection(h11.SERVER)
        self._is_head = False

    async def serve(self) -> None:
        while True:
            async with asyncio.timeout(_TIMEOUT_S):
                try:
                    request = await self._next()
                    if not isinstance(request, h11.Request):
                        return
                    self._is_head = request.method == b"HEAD"
                    await self._send(*await self._server.answer(request, await self._body()))
                except h11.RemoteProtocolError as error:
                    await self._refuse(HTTPStatus(error.error_status_hint), "this is not HTTP/1.1")
                except _Refused as refused:
                    await self._refuse(refused.status, str(refused))
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _next(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
            self._http.receive_data(await self._reader.read(_CHUNK_BYTES))
        return event

    async def _body(self) -> bytes:
        body = bytearray()
        while not isinstance(event := await self._next(), h11.EndOfMessage):
            body += event.data
            if len(body) > _MAX_BODY_BYTES:
                raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {_MAX_BODY_BYTES} bytes")
        return bytes(body)

    async def _refuse(self, status: HTTPStatus, why: str) -> None:
        """Answer a request that was not read to its end; the connection ends with it."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send(status, [_TEXT, ("Connection", "close")], f"{why}\n".encode())
            self._writer.write_eof()
            while await self._reader.read(_CHUNK_BYTES):  # closed on unread bytes, the client would lose the answer
                pass

    async def _send(self, status: HTTPStatus, headers: Headers, body: bytes) -> None:
        length = [] if status is HTTPStatus.NO_CONTENT else [("Content-Length", str(len(body)))]
        kept = ("Cache-Control", "no-store")
        reply = h11.Response(status_code=status, headers=[*headers, kept, *length], reason=status.phrase)
        sent = [] if self._is_head else [h11.Data(data=body)]
        events = [reply, *sent, h11.EndOfMessage()]
        await self._write(b"".join(filter(None, map(self._http.send, events))))

    async def _write(self, data: bytes | None) -> None:
        self._writer.write(data or b"")
        await self._writer.drain()
