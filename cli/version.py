"""`--version`: what to name in a report."""

import platform
from pathlib import Path

import typer

from runtime.commandline import write

_PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def version() -> str:
    """The version in `pyproject.toml`; `unknown` where only the code was copied."""
    import tomllib  # noqa: PLC0415 — for this option alone

    try:
        return str(tomllib.loads(_PROJECT.read_text())["project"]["version"])
    except OSError:
        return "unknown"


def print_version(asked: bool) -> None:  # noqa: FBT001 — typer's callback
    if asked:
        from importlib import metadata  # noqa: PLC0415 — for this option alone

        python = platform.python_version()
        write(f"order saga {version()}, temporalio {metadata.version('temporalio')}, Python {python}\n")
        raise typer.Exit
