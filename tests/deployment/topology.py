"""The services of docker-compose.yml as native processes: same commands, same environment, other addresses."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML

from runtime.embedded import free_port

from ..end_to_end.command import Answer, Program
from ..postgresql import postgresql_server
from . import compose

_BIN = Path(sys.executable).parent
_JOB_S = 30
VARIABLES = {"POSTGRES_PASSWORD": "p0", "TEMPORAL_DB_PASSWORD": "p1", "SERVICES_DB_PASSWORD": "p2"}
"""The content of a user's .env."""


@dataclass(frozen=True)
class Servers:
    """The addresses of PostgreSQL and Temporal, which come from wheels here and from images in the deployment."""

    postgresql_socket: Path
    postgresql_bin: Path
    temporal_port: int
    temporal_http_port: int
    ui_port: int

    @property
    def temporal_address(self) -> str:
        return f"127.0.0.1:{self.temporal_port}"

    def localized(self, value: str) -> str:
        """`value` of the compose file with local addresses."""
        if value == "postgresql":
            return str(self.postgresql_socket)
        for composed, local in (
            ("temporal:7233", self.temporal_address),
            ("@postgresql/{service}", f"@/{{service}}?host={self.postgresql_socket}"),
            ("127.0.0.1:7243", f"127.0.0.1:{self.temporal_http_port}"),
            ("127.0.0.1:8080", f"127.0.0.1:{self.ui_port}"),
        ):
            value = value.replace(composed, local)
        return value


@dataclass
class Topology:
    servers: Servers
    image: Path
    """The folder in the place of /app. `test_compose` proves that the programs need no other files of the project."""
    workers: dict[str, Program] = field(default_factory=dict)
    _services: dict[str, compose.Definition] = field(default_factory=compose.services)
    _metrics_ports: dict[str, str] = field(default_factory=dict)

    def environment(self, name: str) -> dict[str, str]:
        """The environment of the container `name`; from this process it has only the path of the programs."""
        given = compose.environment(self._services[name], VARIABLES)
        if given.get("METRICS_PORT"):
            given["METRICS_PORT"] = self._metrics_ports.setdefault(name, str(free_port()))
        here = {variable: self.servers.localized(value) for variable, value in given.items()}
        path = f"{self.servers.postgresql_bin}:{_BIN}:{os.defpath}"
        return {"PATH": path, "HOME": str(self.image), "PYTHONDONTWRITEBYTECODE": "1", **here}

    def command(self, name: str, *arguments: str) -> list[str]:
        service = self._services[name]
        mounts = compose.bind_mounts(service)
        words = [*service.get("entrypoint", []), *(arguments or service.get("command", []))]
        return [self._localized(str(word), mounts) for word in words]

    def health_check(self, name: str) -> list[str]:
        kind, *words = self._services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        return [self._localized(str(word), {}) for word in words]

    def _localized(self, word: str, mounts: Mapping[str, Path]) -> str:
        for inside, outside in mounts.items():
            word = word.replace(inside, str(outside))
        return sys.executable if word == "python" else self.servers.localized(word)

    async def run(self, name: str, command: list[str], **changed: str) -> str:
        """Run `command` as container `name` does, and return its output. Fails unless it exits with 0."""
        process = await asyncio.create_subprocess_exec(
            *command,
            env=self.environment(name) | changed,
            cwd=self.image,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, error = await asyncio.wait_for(process.communicate(), _JOB_S)
        finally:
            _kill(process)
        assert process.returncode == 0, f"{name}: {' '.join(command)}: {process.returncode}\n{error.decode()}"
        return out.decode()

    def start_workers(self, stack: AsyncExitStack) -> None:
        """Start one process for each worker of the compose file, all at once, and wait until all are ready."""
        for name in compose.workers():
            self.workers[name] = self._program(name, self.command(name), self.image / f"{name}.log")
            stack.callback(self.workers[name].end, signal.SIGKILL)
        for worker in self.workers.values():
            worker.until_ready()

    def starter(self, *arguments: str) -> Answer:
        """Run the container `starter` with these arguments."""
        return self._program("starter", self.command("starter", *arguments)).answer()

    def _program(self, name: str, command: list[str], log: Path | None = None) -> Program:
        python, *words = command
        assert python == sys.executable
        return Program(words, self.image, self.environment(name), log=log)

    def log(self, name: str) -> str:
        return (self.image / f"{name}.log").read_text()

    def stop_worker(self, name: str, grace_s: float) -> int:
        """Stop a worker as Docker does, and return its exit code. `TimeoutError` if Docker would have killed it."""
        os.kill(self.workers[name].pid, signal.SIGTERM)
        return self.workers[name].wait(grace_s)


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()


async def _end(process: asyncio.subprocess.Process) -> None:
    _kill(process)
    await process.wait()


@asynccontextmanager
async def topology(folder: Path) -> AsyncIterator[Topology]:
    """Run both servers, empty, beside the files of the image. The caller runs jobs and workers."""
    image = folder / "app"
    compose.lay_out_image(image)
    async with AsyncExitStack() as stack:
        postgresql = stack.enter_context(postgresql_server())
        # Every role but the superuser needs its password, as in the container.
        (postgresql.data / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        postgresql.execute("SELECT pg_reload_conf();")
        servers = Servers(postgresql.socket, postgresql.programs, free_port(), free_port(), free_port())
        log = stack.enter_context((folder / "temporal.log").open("w"))
        server = await asyncio.create_subprocess_exec(*_temporal(servers), stdout=log, stderr=log)
        stack.push_async_callback(_end, server)
        yield Topology(servers, image)


def _temporal(servers: Servers) -> list[str]:
    """The command of the dev server, with the HTTP API, Web UI and dynamic configuration of the containers."""
    command = [str(_BIN / "temporal"), "server", "start-dev", "--ip", "127.0.0.1", "--log-level", "error"]
    command += ["--port", str(servers.temporal_port), "--http-port", str(servers.temporal_http_port)]
    command += ["--ui-port", str(servers.ui_port)]
    return command + [
        f"--dynamic-config-value={key}={json.dumps(value)}" for key, value in dynamic_configuration().items()
    ]


def dynamic_configuration() -> dict[str, object]:
    mounted = compose.bind_mounts(compose.services()["temporal"])
    file = next(outside for inside, outside in mounted.items() if "dynamicconfig" in inside)
    return {key: constrained[0]["value"] for key, constrained in YAML(typ="safe").load(file).items()}
