"""`doctor` says what is wrong in one line each, and ends in seconds whatever does not answer."""

import asyncio
import shutil
import socket
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from activities.binding import bind
from activities.database import connect
from activities.schema import migrate
from audit.databases import database
from cli import doctor
from client import health
from client.health import Check, checked, compared
from contracts.identity import TemporalIdentity
from runtime.settings import Settings

from .conftest import Run

_HERE = TemporalIdentity("namespace-here", "default", "cluster")
_NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_server_that_is_not_there_is_a_fault_with_exit_code_3(run: Run) -> None:
    answer = run("doctor", "--json")
    assert answer.code == 3
    by_name = {check["check"]: check for check in answer.document}
    assert all(check.keys() == {"check", "ok", "found", "remedy"} for check in answer.document)
    assert by_name["server"]["found"] == "no Temporal server at 127.0.0.1:1: nothing listens there"
    assert by_name["server"]["remedy"] == "start one with `make up`, or set TEMPORAL_ADDRESS"
    assert not by_name["database of payment"]["ok"]
    people = run("doctor").out.splitlines()
    assert len(people) == len(answer.document)
    assert people[0].startswith("FAULT  server: no Temporal server")


async def test_a_server_that_accepts_and_never_answers_does_not_hang_the_doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "TIMEOUT_S", 0.3)
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{silent.getsockname()[1]}")
        server, *_ = await asyncio.wait_for(doctor._examine(), 10)
    assert (server.ok, server.found, server.unreachable) == (False, "no answer within 0.3 s", True)
    assert "TEMPORAL_ADDRESS" in server.remedy


async def test_each_check_has_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT_S", 0.01)

    async def look() -> Check:
        await asyncio.Event().wait()
        raise AssertionError

    check = await asyncio.wait_for(checked("keys", look, "try again"), 5)
    assert (check.ok, check.unreachable, check.remedy) == (False, True, "try again")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the database of the payment service, at its newest schema and bound."""
    folder = tmp_path_factory.mktemp("databases")

    async def make() -> None:
        opened = connect(f"sqlite+aiosqlite:///{folder}/payment.db")
        await migrate(opened, "payment")
        await bind(opened, _HERE)
        await opened.dispose()

    asyncio.run(make())
    return folder


@pytest.fixture
def settings(made: Path, tmp_path: Path) -> Settings:
    shutil.copy(made / "payment.db", tmp_path)
    return Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/{{service}}.db")


def _change(settings: Settings, statement: str) -> None:
    with sqlite3.connect(settings.database_of("payment").removeprefix("sqlite+aiosqlite:///")) as connection:
        connection.execute(statement)


async def test_a_database_of_this_build_and_this_temporal_is_as_it_should_be(settings: Settings) -> None:
    check = await database("payment", settings, _HERE)
    assert (check.ok, check.remedy) == (True, "")
    assert check.found.endswith(", of this build")


@pytest.mark.parametrize(
    ("statement", "found", "remedy"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "newer than this build's", "use the build of the workers"),
        ("DROP TABLE alembic_version", "it has no schema", "start a worker of this build"),
        ("UPDATE temporal_binding SET namespace_id = 'x'", "belongs to Temporal namespace", "TEMPORAL_*"),
    ],
    ids=["newer", "no schema", "another Temporal"],
)
async def test_a_database_of_another_build_or_another_temporal_is_a_fault_with_its_mend(
    settings: Settings, statement: str, found: str, remedy: str
) -> None:
    _change(settings, statement)
    check = await database("payment", settings, _HERE)
    assert (check.ok, check.unreachable) == (False, False)
    assert found in check.found
    assert remedy in check.remedy


async def test_a_database_that_cannot_be_opened_is_told_apart(settings: Settings) -> None:
    check = await database("order", settings, _HERE)
    assert (check.ok, check.unreachable) == (False, True)


@pytest.mark.parametrize(
    ("server", "ok", "found"),
    [
        (_NOW, True, "within 0.1 s"),
        (_NOW - timedelta(seconds=3), True, "within 3.0 s"),
        (_NOW - timedelta(minutes=2), False, "this host is 120 s ahead of the server"),
        (_NOW + timedelta(minutes=2), False, "this host is 119 s behind the server"),
    ],
    ids=["the same", "a little", "ahead", "behind"],
)
def test_a_clock_that_differs_is_a_fault_from_five_seconds_on(server: datetime, ok: bool, found: str) -> None:  # noqa: FBT001
    check = compared(server, _NOW, _NOW + timedelta(seconds=1))
    assert check.ok is ok
    assert check.found.startswith(found)
