"""Opens the services' databases for a worker, and refuses those of another Temporal and those whose file was lost."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

from sqlalchemy import text

from activities.binding import BoundElsewhere, bind
from activities.database import UNUSABLE, Database, connect, reading, reason_of
from activities.schema import migrate
from contracts.identity import TemporalIdentity


class NotToBeUsed(Exception):
    """This worker must not use a database; the message says why. An operator may `adopt` it."""


class CannotBeOpened(Exception):
    """A database does not exist or does not answer. The message names the service and says why."""


@dataclass(frozen=True)
class Opening:
    """What a worker knows when it opens databases."""

    urls: Mapping[str, str]
    """The databases of all services, also of those that this worker does not serve."""
    temporal: TemporalIdentity | None
    """`None` if the worker has no permission to read it; databases are then neither bound nor compared."""
    has_orders: Callable[[], Awaitable[bool]]
    """Whether this Temporal knows any order."""
    adopt: bool = False
    """An operator has confirmed that the databases are the right ones: skip the checks and bind them here."""

    async def open(self, stack: AsyncExitStack, services: Sequence[str]) -> dict[str, Database]:
        """The databases of `services`, migrated and bound; `stack` closes them.

        Raises `NotToBeUsed` and `CannotBeOpened`.
        """
        opened = {}
        for service in services:
            opened[service] = connect(self.urls[service])
            stack.push_async_callback(opened[service].dispose)
        if not self.adopt:
            await self._require_that_none_is_lost(opened)
        for service, database in opened.items():
            with _named(service):
                await self._prepare(service, database)
        return opened

    async def _prepare(self, service: str, database: Database) -> None:
        await migrate(database, service)
        if self.temporal is None:
            return
        try:
            await bind(database, self.temporal, adopt=self.adopt)
        except BoundElsewhere as error:
            raise NotToBeUsed(f"the {service} database {error}") from error

    async def _require_that_none_is_lost(self, opened: Mapping[str, Database]) -> None:
        """Raise `NotToBeUsed` if a file is missing in a system that has been in use: only a first start makes files."""
        missing = {service: file for service, database in opened.items() if (file := database.new_file()) is not None}
        if not missing:
            return
        service, file = next(iter(missing.items()))
        if await self.has_orders():
            raise NotToBeUsed(f"the {service} database {file} is missing, though this Temporal knows orders")
        for sibling in self.urls.keys() - missing.keys():
            with _named(sibling):
                has_worked = await _has_worked(self.urls[sibling])
            if has_worked:
                raise NotToBeUsed(f"the {service} database {file} is missing, though that of {sibling} has been in use")


@contextmanager
def _named(service: str) -> Iterator[None]:
    try:
        yield
    except UNUSABLE as error:
        raise CannotBeOpened(f"{service} database: {reason_of(error)}") from error


async def _has_worked(url: str) -> bool:
    """Whether a service has performed any operation in the database at `url`; false if there is no database."""
    if connect(url).new_file() is not None:
        return False
    async with reading(url) as connection:
        if not await connection.scalar(text("SELECT count(*) FROM sqlite_master WHERE name = 'operations'")):
            return False
        return bool(await connection.scalar(text("SELECT EXISTS (SELECT 1 FROM operations)")))
