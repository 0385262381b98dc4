"""The crash matrix of the choreography: every call and every event, times every fault; then the audit.

The cases are generated from the choreography, so the matrix has every new reaction.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from client.engines.choreography import ChoreographyEngine
from contracts.catalogue import OPERATIONS, QUEUES
from contracts.choreography import PUBLISHING, Fact
from contracts.order import NotificationMode, Order
from runtime import connection
from runtime.settings import Settings
from temporal_saga import TransactionLog
from workflows.choreography import Reaction

from ..eventually import eventually_async
from ..orders import BOUNCES, REQUIRED, SOUTH_POLE, line
from ..roles import roles_in
from .conftest import Make
from .fleet import Fleet
from .system import System

pytestmark = [pytest.mark.xdist_group("choreographed faults"), pytest.mark.timeout(600)]

_FAILS: dict[str, dict[str, Any]] = {
    "payment": REQUIRED | {"customer_id": "c-none"},
    "inventory": REQUIRED | {"lines": line("UNICORN-1")},
    "shipping": REQUIRED | {"ship_to": SOUTH_POLE},
    "notification": BOUNCES,
}
"""Documents that each service refuses."""
_ROUNDS = 3
"""Limit on the rounds: one is enough, unless the deaths of other workers roll an order back before its step."""
_AT_ONCE = 20
_END_S = 300
"""A worker may die many times before the last order of a case has ended."""
_NO_HURRY = {"deadline_s": 600}
"""A deadline that no order of the matrix reaches."""


@dataclass(frozen=True)
class Case:
    """An order that calls `operation`, and the changes to its document."""

    operation: str
    changes: dict[str, Any]
    gives_up: bool = False
    """Whether the order is rolled back when the attempts run out; other calls are retried until they succeed."""
    may_confirm: bool = False

    @property
    def queue(self) -> str:
        return self.operation.partition(".")[0]


def _cases() -> list[Case]:
    """The operations of the choreography. The notification is required: no step may fail without an effect."""
    found: dict[str, Case] = {}
    for service, role in roles_in(NotificationMode.REQUIRED).items():
        late_failure = _FAILS["notification" if service == "shipping" else "shipping"]
        for reaction in role.reactions:
            undo = reaction is role.undo
            changes = late_failure if undo else REQUIRED
            for name in _called(reaction, reaction.emits):
                gives_up = reaction in role.steps and name in OPERATIONS
                found.setdefault(name, Case(name, changes, gives_up=gives_up, may_confirm=not undo))
            if reaction.emits_on_failure is not None and service in _FAILS:
                name = PUBLISHING[reaction.emits_on_failure].name
                found.setdefault(name, Case(name, _FAILS[service]))
    return list(found.values())


def _called(reaction: Reaction, emits: Fact) -> Iterator[str]:
    yield from (call.operation.name for call in reaction.calls)
    yield PUBLISHING[emits].name


async def _placed(client: Client, documents: Sequence[dict[str, Any]]) -> dict[str, TransactionLog]:
    """Place the orders by choreography and wait until each has ended, also after it was parked."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def end_of(order: Order) -> TransactionLog:
        async with turn:
            engine = ChoreographyEngine(client)
            await engine.start(order)
            log = await eventually_async(
                lambda: engine.wait(order),
                f"{order.order_id} ends",
                until=lambda log: log is not None and log.state.is_end,
                timeout_s=_END_S,
            )
            assert log is not None
            return log

    logs = await asyncio.gather(*(end_of(Order.model_validate(document)) for document in documents))
    return {document["order_id"]: log for document, log in zip(documents, logs, strict=True)}


ONCE = {"fails-once": ("error_before", 1), "reply-lost": ("error_after", 1)}
FOR_EVER = {"always-fails": ("error_before", None), "never-replies": ("error_after", None)}


@pytest.mark.chaos
async def test_every_call_and_every_event_of_the_choreography_survives_every_error(
    fresh_system: System, order: Make
) -> None:
    expected, faults = {}, []
    documents = []
    for case in _cases():
        for name, (kind, attempts) in (ONCE | (FOR_EVER if case.gives_up else {})).items():
            document = order(f"{case.operation}.{name}"[-53:], **case.changes, **_NO_HURRY)
            documents.append(document)
            confirmed = case.may_confirm and attempts is not None
            expected[document["order_id"]] = "CONFIRMED" if confirmed else "ROLLED_BACK"
            bound = "" if attempts is None else f"attempts = {attempts}\n"
            where = f'transaction = "order/{document["order_id"]}"\noperation = "{case.operation}"'
            faults.append(f'[[fault]]\n{where}\nkind = "{kind}"\n{bound}')
    file = fresh_system.folder / "faults.toml"
    file.write_text("".join(faults))
    fresh_system.options = ["--faults", str(file)]
    fresh_system.start()
    client = await connection.connect(Settings(), address=f"127.0.0.1:{fresh_system.port}")
    logs = await _placed(client, documents)
    ends = {order_id: str(log.state) for order_id, log in logs.items()}
    assert {order_id: end for order_id, end in ends.items() if end != expected[order_id]} == {}
    struck = {line["transaction_id"] for line in fresh_system.log_lines() if line["event"] == "fault"}
    assert {f"order/{order_id}" for order_id in expected} - struck == set()
    audit = fresh_system.run("audit", "--json")
    assert audit.code == 0, audit.out


@dataclass(frozen=True)
class Deaths:
    """The operations at which workers have still to die; the next start leaves out those that have happened."""

    folder: Path
    kind: str
    cases: Sequence[Case]

    def options(self, worker: str) -> list[str]:
        faults = self.folder / f"{worker}-faults.toml"
        alive = [case.operation for case in self.cases if case.operation not in self.died_of()]
        where = "\n".join(
            f'[[fault]]\ntransaction = "order/*-{name}"\noperation = "{name}"\nkind = "{self.kind}"' for name in alive
        )
        faults.write_text(where)
        return ["--faults", str(faults), *(["--service", worker] if worker in QUEUES else [])]

    def died_of(self) -> set[str]:
        logs = self.folder.glob("*.log")
        return {line["step"] for log in logs for line in Fleet.lines_of(log) if line["event"] == "fault"}


def _in_turn(cases: Sequence[Case]) -> Iterator[list[Case]]:
    """Groups with one case of each queue: if one worker died many times in a row, other orders would time out."""
    queues = {queue: [case for case in cases if case.queue == queue] for queue in QUEUES}
    while any(queues.values()):
        yield [waiting.pop() for waiting in queues.values() if waiting]


_DECISIONS = {"order.confirm", PUBLISHING[Fact.ORDER_CANCELLED].name}
"""The decision to confirm an order, and the event that tells of the decision to cancel one."""


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("kind", "workers", "operations"),
    [
        ("die_after", ("everything",), _DECISIONS),
        pytest.param("die_before", QUEUES, None),
        pytest.param("die_after", QUEUES, None),
    ],
    ids=["at the decisions", "before", "after the commit"],
)
async def test_a_choreographed_order_survives_the_death_of_a_worker_at_any_call_and_any_event(
    kind: str, workers: Sequence[str], operations: set[str] | None, tmp_path: Path, order: Make
) -> None:
    cases = [case for case in _cases() if operations is None or case.operation in operations]
    deaths = Deaths(tmp_path, kind, cases)
    async with Fleet(System(tmp_path), workers, deaths.options) as fleet:
        await fleet.start_workers()
        await fleet.fill_the_shelves()
        client = await connection.connect(Settings(), address=f"127.0.0.1:{fleet.system.port}")
        for _ in range(_ROUNDS):
            alive = [case for case in cases if case.operation not in deaths.died_of()]
            for together in _in_turn(alive):
                documents = [order(case.operation, **case.changes, **_NO_HURRY) for case in together]
                ends = [log.state for log in (await _placed(client, documents)).values()]
                confirmed = {case.operation for case, end in zip(together, ends, strict=True) if end == "CONFIRMED"}
                assert confirmed <= {case.operation for case in together if case.may_confirm}
        assert deaths.died_of() == {case.operation for case in cases}
        audit = await fleet.run("audit", "--json")
        assert audit.code == 0, audit.out
        assert audit.document["orders"] >= len(cases)
