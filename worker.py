#!/usr/bin/env python3
"""The worker process: its command line, the embedded Temporal server beside it, and how both end."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import structlog
import typer
from temporalio.worker import Interceptor

from composition.services import seed_through
from composition.serving import serving
from composition.workers import GARBAGE_AFTER
from contracts.catalogue import QUEUES
from contracts.order import WORKFLOWS_QUEUE
from recovery.schedule import keep_sweeping
from runtime import connection, logs, web_ui
from runtime.attempts import LoggingInterceptor
from runtime.codec_server import CodecServer, web_ui_origins
from runtime.commandline import run
from runtime.embedded import EmbeddedServer, embedded_server
from runtime.faults import FaultInterceptor, random_faults, read_faults
from runtime.interceptors import interceptor_at
from runtime.readiness import until_answered
from runtime.settings import Settings, SettingsError
from runtime.stopping import stop_of
from runtime.welcome import welcome
from temporal_saga import register_search_attributes

_OF_THE_SERVER = {
    "port": "TEMPORAL_ADDRESS names another server",
    "ui_port": "TEMPORAL_ADDRESS names another server",
    "codec_port": "for another server, run `python codec.py`",
}
"""Options that mean nothing without an embedded server, and what to do for another one."""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def main(
    context: typer.Context,
    service: Annotated[
        list[str] | None, typer.Option(help=f"A queue to serve, repeatable: {', '.join(QUEUES)}.")
    ] = None,
    embedded: Annotated[bool, typer.Option("--embedded", help="Start the Temporal dev server and Web UI too.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the embedded server.")] = 7233,
    ui_port: Annotated[int, typer.Option(min=1, max=65535, help="Of the embedded server's Web UI.")] = 8233,
    data: Annotated[Path, typer.Option(help="Where the embedded server keeps its state.")] = Path("data"),
    fault_rate: Annotated[float, typer.Option(min=0, max=1, help="The share of attempts that fail.")] = 0,
    fault_seed: Annotated[int, typer.Option(help="The same seed, the same faults.")] = 0,
    faults: Annotated[Path | None, typer.Option(help="A TOML file of faults; runtime/faults.py has its form.")] = None,
    adopt_databases: Annotated[
        bool, typer.Option("--adopt-databases", help="Take over databases of another Temporal; make lost ones anew.")
    ] = False,
    codec_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Let the embedded server's Web UI decrypt, by a codec server.")
    ] = None,
    interceptor: Annotated[
        list[str] | None, typer.Option(help="A worker interceptor of your own, MODULE:CLASS, repeatable.")
    ] = None,
) -> None:
    """Serve the workflows and the services of the order saga until SIGTERM."""
    settings = Settings.read()
    logs.configure(settings.log_format)
    queues = tuple(dict.fromkeys(service or QUEUES))
    unknown = [queue for queue in queues if queue not in QUEUES]
    if unknown:
        raise SettingsError(f"--service {unknown[0]}: there are only {', '.join(QUEUES)}")
    for name, remedy in _OF_THE_SERVER.items():
        if not embedded and _is_given(context, name):
            raise SettingsError(f"--{name.replace('_', '-')}: goes with --embedded; {remedy}")
    injected = [*(read_faults(faults) if faults else []), *(random_faults(fault_rate) if fault_rate else [])]
    interceptors: list[Interceptor] = [LoggingInterceptor()]
    interceptors += [FaultInterceptor(injected, fault_seed)] if injected else []
    interceptors += [interceptor_at(where) for where in interceptor or ()]
    codec = None if codec_port is None else _codec_server(settings, codec_port, ui_port)
    system = _embedded_system(port=port, ui_port=ui_port, data=data, codec=codec) if embedded else None
    asyncio.run(_serve_until_stopped(settings, queues, interceptors, system, data, adopt=adopt_databases))


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _codec_server(settings: Settings, port: int, ui_port: int) -> AbstractAsyncContextManager[str]:
    """The codec server of the embedded Web UI. Raises `SettingsError`."""
    if settings.codec_token is not None:
        raise SettingsError("CODEC_TOKEN: the Web UI cannot send it; unset it, or leave out --codec-port")
    return CodecServer.of(settings, web_ui_origins(ui_port)).listening("127.0.0.1", port)


@asynccontextmanager
async def _embedded_system(
    *, port: int, ui_port: int, data: Path, codec: AbstractAsyncContextManager[str] | None
) -> AsyncIterator[EmbeddedServer]:
    async with (
        codec or nullcontext() as address,
        embedded_server(port=port, ui_port=ui_port, data=data, codec=address) as running,
    ):
        yield running


async def _serve_until_stopped(
    settings: Settings,
    queues: Sequence[str],
    interceptors: Sequence[Interceptor],
    server: AbstractAsyncContextManager[EmbeddedServer] | None,
    data: Path,
    *,
    adopt: bool,
) -> None:
    with stop_of(asyncio.current_task()) as stop:
        async with AsyncExitStack() as stack:
            running = await stack.enter_async_context(server) if server else None
            address = running.address if running else None
            client = await connection.open_client(settings, address=address, with_metrics=True)
            await until_answered("the namespace", partial(connection.require_namespace, client))
            if running:
                await until_answered("the namespace's data", partial(web_ui.keep_address, client, running.web_ui))
            elif WORKFLOWS_QUEUE in queues:
                # The embedded server is started with the search attributes.
                await until_answered("search attributes", partial(register_search_attributes, client))
            services = await stack.enter_async_context(serving(client, settings, queues, interceptors, adopt=adopt))
            if WORKFLOWS_QUEUE in queues:
                await until_answered("the sweep's schedule", partial(keep_sweeping, client))
            if running and set(queues) == set(QUEUES):
                await seed_through(services)
            gc.freeze()  # the objects of the imports live for ever, so the collector may ignore them
            gc.set_threshold(GARBAGE_AFTER)
            where = f"Temporal at {client.service_client.config.target_host}"
            told = f", Web UI at {running.web_ui}" if running else ""
            print(f"ready: serving {', '.join(queues)}; {where}{told}", flush=True)  # noqa: T201
            if running and sys.stdout.isatty():
                print(welcome(running, data), flush=True)  # noqa: T201
            await stop.wait()
            structlog.get_logger("worker").info("draining")


if __name__ == "__main__":
    run(app)
