"""The codec server: decrypts for people what Temporal stores encrypted, in the Web UI and for the `temporal` CLI.

It needs the `PAYLOAD_KEY` and nothing else: neither Temporal nor a database.
"""

import asyncio
from typing import Annotated

import typer

from runtime import logs
from runtime.codec_server import DEFAULT_PORT, CodecServer, checked_origin, web_ui_origins
from runtime.commandline import run
from runtime.settings import Settings
from runtime.stopping import stop_of

DEFAULT_ORIGINS = web_ui_origins(8233)

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


@app.command()
def main(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where it listens.")] = DEFAULT_PORT,
    host: Annotated[
        str, typer.Option(help="An IP address of this host; beyond the loopback, CODEC_TOKEN is needed.")
    ] = "127.0.0.1",
    origin: Annotated[
        list[str] | None,
        typer.Option(help=f"Where the Web UI is, repeatable; default: {' and '.join(DEFAULT_ORIGINS)}."),
    ] = None,
) -> None:
    """Serve POST /decode and /encode, Temporal's remote codec protocol, until SIGTERM."""
    settings = Settings.read()
    logs.configure(settings.log_format)
    origins = [checked_origin(each) for each in origin] if origin else DEFAULT_ORIGINS
    asyncio.run(_serve_until_stopped(CodecServer.of(settings, origins), host, port))


async def _serve_until_stopped(server: CodecServer, host: str, port: int) -> None:
    with stop_of(asyncio.current_task()) as stop:
        async with server.listening(host, port) as address:
            print(f"ready: codec at {address} for {', '.join(server.origins)}", flush=True)  # noqa: T201
            await stop.wait()


if __name__ == "__main__":
    run(app)
