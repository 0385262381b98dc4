"""A real NATS server, and what its stream holds."""

import asyncio
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
from nats.js.errors import NotFoundError

from runtime.embedded import DIE_WITH_PARENT
from runtime.relay import STREAM
from tests.eventually import eventually_async


@dataclass
class NatsServer:
    port: int
    store: Path
    _process: asyncio.subprocess.Process | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        binary = Path(sys.executable).with_name("nats-server")
        self._process = await asyncio.create_subprocess_exec(
            *(binary, "--addr", "127.0.0.1", "--port", str(self.port), "--jetstream", "--store_dir", self.store),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            preexec_fn=DIE_WITH_PARENT,
        )
        await eventually_async(self._answers, "NATS answers", pause_s=0.02)

    async def stop(self) -> None:
        """Kill it; what it has acknowledged is on disk."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None

    async def events(self, subject: str = "order-saga.>") -> list[dict[str, Any]]:
        """The events of the stream in its order, those of `subject`; empty before it is made."""
        client = await nats.connect(self.url)
        try:
            stream = client.jetstream()
            last = (await stream.stream_info(STREAM)).state.last_seq
            found = [await stream.get_msg(STREAM, seq=at) for at in range(1, last + 1)]
            parts = subject.rstrip(">*")
            found = [message for message in found if (message.subject or "").startswith(parts)]
        except NotFoundError:
            return []
        finally:
            await client.close()
        return [json.loads(message.data or b"") for message in found]

    async def until(self, count: int) -> list[dict[str, Any]]:
        """The events, when there are `count` of them."""
        return await eventually_async(self.events, f"{count} events", until=lambda events: len(events) >= count)

    async def _answers(self) -> bool:
        try:
            (await asyncio.open_connection("127.0.0.1", self.port))[1].close()
        except OSError:
            return False
        return True
