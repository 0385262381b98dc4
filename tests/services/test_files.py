"""A service's SQLite file: it may have any name, its loss is noticed, and a lost file is not created again."""

import shutil
import sqlite3
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from activities.catalogue import SERVICES
from activities.database import connect, reading
from activities.opening import NotToBeUsed, Opening
from activities.schema import migrate
from activities.sqlite import FileGone
from contracts import inventory
from contracts.identity import TemporalIdentity

from .databases import SqliteFiles
from .requests import reservation, stock_level
from .service_harness import Call, ServiceHarness

_HERE = TemporalIdentity("n-1", "default", "c-1")


def _url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{quote(str(path))}"


@pytest.mark.parametrize("name", ["my%20data", "a#b", "what?", "50% off", "Straße & so", "a?mode=memory"])
async def test_writer_and_reader_open_the_same_file_whatever_its_folder_is_called(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "inventory.db"
    harness = ServiceHarness("inventory", _url(path))
    await migrate(harness.database, "inventory")
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 5)))
    async with reading(harness.url) as connection:
        assert (await connection.scalars(text("SELECT on_hand FROM stock"))).all() == [5]
    assert [found.name for found in tmp_path.iterdir()] == [name]
    assert path.exists()


async def test_a_file_that_is_deleted_while_it_is_open_is_not_written_to(sqlite_files: SqliteFiles) -> None:
    harness = ServiceHarness("inventory", await sqlite_files.migrated("inventory"))
    path = Path(harness.url.removeprefix("sqlite+aiosqlite:///"))
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 5)))
    aside = path.rename(path.with_suffix(".aside"))
    for _ in range(2):
        with pytest.raises(FileGone, match="deleted or replaced while it was open"):
            await harness.deliver(inventory.reserve, reservation(apple=1))
    assert not path.exists()
    aside.rename(path)
    await harness.accept(Call(inventory.reserve, reservation(apple=1)))


async def test_a_file_that_is_replaced_while_it_is_open_is_not_written_to(sqlite_files: SqliteFiles) -> None:
    harness = ServiceHarness("inventory", await sqlite_files.migrated("inventory"))
    path = Path(harness.url.removeprefix("sqlite+aiosqlite:///"))
    await harness.accept(Call(inventory.set_stock, stock_level("apple", 5)))
    shutil.copy(path, copy := path.with_suffix(".copy"))
    copy.rename(path)
    with pytest.raises(FileGone):
        await harness.deliver(inventory.reserve, reservation(apple=1))


async def test_only_a_migration_makes_a_file(tmp_path: Path) -> None:
    database = connect(url := _url(tmp_path / "inventory.db"))
    with pytest.raises(DBAPIError, match="unable to open"):
        await database.transaction(lambda tx: tx.execute(text("SELECT 1")))
    with pytest.raises(DBAPIError, match="unable to open"):
        async with reading(url):
            pass
    assert list(tmp_path.iterdir()) == []
    await database.dispose()


async def test_a_worker_waits_for_another_that_writes_into_a_new_file(tmp_path: Path) -> None:
    """The file has no write-ahead log yet, and SQLite refuses the switch at once while another process writes."""
    file = tmp_path / "order.db"
    writer = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    writer.execute("CREATE TABLE other (x)")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO other VALUES (1)")
    release = threading.Timer(0.2, writer.execute, ["COMMIT"])
    release.start()
    database = connect(f"sqlite+aiosqlite:///{file}")
    await migrate(database, "order")
    release.join()
    await database.dispose()
    writer.close()


async def test_a_file_that_cannot_be_read_leaves_no_thread_behind(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    before = set(threading.enumerate())
    for name in ("missing.db", "folder.db"):
        with pytest.raises(DBAPIError):
            async with reading(_url(tmp_path / name)):
                pass
    assert set(threading.enumerate()) <= before


class Folder:
    """The database files of a system, and a worker that opens them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.urls = {service: _url(path / f"{service}.db") for service in SERVICES}

    async def open(self, *services: str, orders: bool = False, adopt: bool = False) -> None:
        async def has_orders() -> bool:
            return orders

        async with AsyncExitStack() as stack:
            await Opening(self.urls, _HERE, has_orders, adopt=adopt).open(stack, services or list(SERVICES))

    async def work(self) -> None:
        harness = ServiceHarness("inventory", self.urls["inventory"])
        await harness.accept(Call(inventory.set_stock, stock_level("apple", 5)))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


async def test_a_first_start_makes_every_file_also_after_it_was_cut(folder: Folder) -> None:
    await folder.open("order", "payment")
    (folder.path / "shipping.db").touch()
    await folder.open()
    await folder.open()
    assert {path.stem for path in folder.path.glob("*.db")} == set(SERVICES)


async def test_a_file_that_is_missing_beside_one_that_was_in_use_is_not_made_anew(folder: Folder) -> None:
    await folder.open()
    await folder.work()
    (folder.path / "payment.db").unlink()
    for services in ((), ("payment",)):
        with pytest.raises(NotToBeUsed, match=r"payment\.db is missing, though that of inventory has been in use"):
            await folder.open(*services)
    assert not (folder.path / "payment.db").exists()
    await folder.open(adopt=True)
    await folder.open()


async def test_files_that_are_all_missing_where_temporal_knows_orders_are_not_made_anew(folder: Folder) -> None:
    with pytest.raises(NotToBeUsed, match=r"order\.db is missing, though this Temporal knows orders"):
        await folder.open(orders=True)
    assert not list(folder.path.iterdir())
    await folder.open(orders=True, adopt=True)
    await folder.open(orders=True)
