"""The versions of a service's schema, and its way to the newest one: Alembic, which only what migrates imports."""

import asyncio
from functools import partial
from pathlib import Path
from weakref import WeakKeyDictionary

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, text

from activities.database import Database, NewerSchema

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATING: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
"""Alembic keeps the running migration in module globals, so a process runs one at a time, whatever the database."""


async def migrate(database: Database, service: str) -> None:
    """Bring the schema of `service` to the newest version. Many workers may do so at once. Raises `NewerSchema`."""
    one_at_a_time = _MIGRATING.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    async with one_at_a_time:  # a task that has waited must see the versions that the task before it applied
        await database.migration(partial(_migrate, service=service))


def _migrate(connection: Connection, service: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('schema'))"))
    try:
        command.upgrade(migrations_of(service, connection), "head")
    except CommandError as error:
        raise NewerSchema(f"its schema is not of this build, but of a newer one ({error})") from error


def migrations_of(service: str, connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("version_locations", str(_MIGRATIONS / service))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
