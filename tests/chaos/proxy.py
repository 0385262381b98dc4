"""A TCP proxy on loopback, between clients and one server, that can cut, delay, half-close and swallow."""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_CHUNK = 65536


@dataclass(eq=False)
class _Connection:
    """Both ends of a connection, and the two tasks that copy bytes between them."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    to_server: asyncio.Task[None]
    to_client: asyncio.Task[None]
    silent: asyncio.Event
    """When it is set, bytes and ends of this connection are dropped in both directions, and neither side is told."""

    def abort(self) -> None:
        for end in (self.client, self.server):
            end.transport.abort()

    def half_close(self, *, towards_client: bool) -> None:
        """End one direction: that side reads the end of the stream, and what it sends still arrives."""
        carrier, end = (self.to_client, self.client) if towards_client else (self.to_server, self.server)
        carrier.cancel()
        if end.can_write_eof() and not end.is_closing():
            with suppress(OSError):  # the other side has reset the connection, and the transport does not know it yet
                end.write_eof()


class Proxy:
    """A listener that copies bytes to `server` and back; `server` is a port, or the path of a unix socket."""

    def __init__(self, server: int | Path) -> None:
        self._server = server
        self.accepted = 0
        """Connections accepted since the start, those that were refused included."""
        self.refusing = False
        """Whether new connections are reset at once, as while a server restarts."""
        self._connections: set[_Connection] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for connection in list(self._connections):
            connection.abort()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    def cut(self, rng: random.Random) -> int:
        """Reset about half of the connections; their number."""
        struck = self._some(rng)
        for connection in struck:
            connection.abort()
        return len(struck)

    def half_close(self, rng: random.Random) -> int:
        """Half-close about half of the connections, each in one direction; their number."""
        struck = self._some(rng)
        for connection in struck:
            connection.half_close(towards_client=rng.random() < 0.5)
        return len(struck)

    async def delay(self, seconds: float) -> int:
        """Hold back every byte for that long; the number of connections."""
        self._flowing.clear()
        await asyncio.sleep(seconds)
        self._flowing.set()
        return len(self._connections)

    def swallow(self) -> int:
        """Drop all bytes of the open connections, as a firewall does after its restart; their number. New ones work."""
        for connection in self._connections:
            connection.silent.set()
        return len(self._connections)

    def _some(self, rng: random.Random) -> list[_Connection]:
        return [connection for connection in self._connections if rng.random() < 0.5]

    async def _accept(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refusing:
            client.transport.abort()
            return
        try:
            from_server, server = await self._open()
        except OSError:  # the server is away
            client.transport.abort()
            return
        silent = asyncio.Event()
        to_server = asyncio.create_task(self._copy(from_client, server, silent))
        to_client = asyncio.create_task(self._copy(from_server, client, silent))
        connection = _Connection(client, server, to_server, to_client, silent)
        self._connections.add(connection)
        await asyncio.wait([to_server, to_client])
        self._connections.discard(connection)
        connection.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._server, Path):
            return await asyncio.open_unix_connection(self._server)
        return await asyncio.open_connection("127.0.0.1", self._server)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, silent: asyncio.Event) -> None:
        try:
            while data := await source.read(_CHUNK):
                await self._flowing.wait()
                if silent.is_set():
                    continue
                sink.write(data)
                await sink.drain()
            if not (silent.is_set() or sink.is_closing()):
                sink.write_eof()
        except OSError:  # one side is gone: end the other too
            if not silent.is_set():
                sink.transport.abort()
