"""What a person sees when the embedded system is ready: where it is, and a first command to type."""

import sys
from pathlib import Path

from runtime.connection import DEFAULT_ADDRESS
from runtime.embedded import EmbeddedServer


def welcome(server: EmbeddedServer, data: Path) -> str:
    default_port = DEFAULT_ADDRESS.rpartition(":")[2]
    elsewhere = not server.address.endswith(f":{default_port}")
    starter = f"{f'TEMPORAL_ADDRESS={server.address} ' if elsewhere else ''}{_python()} starter.py"
    return f"""
  Web UI    {server.web_ui}
  Temporal  {server.address}, its state in {data}

  In another terminal:
    {starter} place --item BOOK-1:2
    {starter} list

  Ctrl-C ends it; started again, it goes on.
"""


def _python() -> str:
    """This Python, as one types it from here."""
    executable, here = Path(sys.executable), Path.cwd()
    return str(executable.relative_to(here) if executable.is_relative_to(here) else executable)
