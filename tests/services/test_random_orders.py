"""Random orders over a network that repeats, delays and reorders calls: the audit finds no violation.

Each order has a coordinator that follows the saga's rules: it goes forward until a refusal or until it gives up, and
then undoes in reverse; or it passes the pivot, and then finishes. Its calls are those of the plan of
`workflows/order.py` at the services that the audit compares, so a step that is added to the process is tried here too.
Between the coordinator and the services is a network that may delay a call until after its undo, and that may repeat
any call at any time.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st

from activities.database import reading
from activities.fence import RefusedDecision
from audit import crossing, invariants
from audit.crossing import SERVICES_WITH_TRACES, Traces
from audit.report import Violation
from cli.graph import plan_of, sample
from contracts import inventory, payment
from contracts.order import Order, OrderLine
from temporal_saga import CallKind, PlannedCall

from .databases import SqliteFiles
from .requests import address, balance, contact, stock_level
from .service_harness import Call, ServiceHarness

pytestmark = pytest.mark.slow


class Calls(NamedTuple):
    """The calls of one order, from its plan."""

    forwards: list[tuple[Call, Call]]
    """Each with its undo."""
    pivot: Call
    finishes: list[Call]


def _calls_of(placed: Order) -> Calls:
    calls = [call for stage in plan_of(placed).stages for call in stage.calls]
    audited = [call for call in calls if call.operation.service in SERVICES_WITH_TRACES]
    [pivot] = [Call(call.operation, call.request) for call in audited if call.kind is CallKind.PIVOT]
    finishes = [Call(call.operation, call.request) for call in audited if call.kind is CallKind.FINISH]
    return Calls(list(_forwards(audited)), pivot, finishes)


def _forwards(calls: list[PlannedCall]) -> Iterator[tuple[Call, Call]]:
    for call in calls:
        if call.kind is CallKind.STEP:
            assert call.undo is not None, f"{call.operation.name} is a step without an undo: no coordinator can give up"
            yield Call(call.operation, call.request), Call(call.undo, call.request)


_CALLED = {forward.operation.service for forward, _ in _calls_of(sample()).forwards}
"""The services of the process. Others of the catalogue have seen no order, and the audit expects none there."""
GIVEN_UP = len(_calls_of(sample()).forwards)
"""The number of forward calls of an order; its coordinator may give up at any of them."""


@dataclass(frozen=True)
class RandomOrder:
    """An order, and the forward call at which its coordinator gives up, if it does."""

    number: int
    customer_id: str
    units: dict[str, int]
    country: str = "DE"
    gives_up_at: int | None = None
    arrives: bool = True
    """Whether the call given up arrives before its undo, or only when the network delivers it again."""

    def __repr__(self) -> str:
        fate = "" if self.gives_up_at is None else f", given up at call {self.gives_up_at}"
        fate += "" if self.arrives or self.gives_up_at is None else ", which is late"
        return f"o-{self.number}: {self.units} for {self.customer_id} to {self.country}{fate}"

    @property
    def calls(self) -> Calls:
        lines = tuple(OrderLine(sku=sku, quantity=units, unit_price_minor=10) for sku, units in self.units.items())
        return _calls_of(
            Order(
                order_id=f"o-{self.number}",
                customer_id=self.customer_id,
                currency="EUR",
                lines=lines,
                ship_to=address(self.country),
                contact=contact(),
            )
        )


@dataclass
class Network:
    """The network to the services: it delivers calls, and keeps them so that it can repeat them."""

    harnesses: dict[str, ServiceHarness]
    sent: list[Call] = field(default_factory=list)

    async def deliver(self, call: Call) -> bool:
        """Deliver a call; whether it was done."""
        self.sent.append(call)
        return not isinstance(await self.harnesses[call.operation.queue].deliver(*call), RefusedDecision)

    def hold_back(self, call: Call) -> None:
        self.sent.append(call)

    async def deliver_again(self, number: int) -> None:
        if self.sent:
            call = self.sent[number % len(self.sent)]
            await self.harnesses[call.operation.queue].deliver(*call)


class Coordinator:
    """The coordinator of one order, which makes one call at each `step`."""

    def __init__(self, random_order: RandomOrder, network: Network) -> None:
        self._order = random_order
        self._calls = random_order.calls
        self._network = network
        self._undos: list[Call] = []
        self._ahead = list(enumerate(self._calls.forwards))
        self._behind: list[Call] | None = None
        """The remaining undos or finishes, once the order is decided."""

    @property
    def is_over(self) -> bool:
        return self._behind == []

    async def step(self) -> None:
        if self._behind is not None:
            call = self._behind.pop(0)
            assert await self._network.deliver(call), f"{call.operation.name} was refused: no undo or finish may be"
        elif self._ahead:
            await self._forward(*self._ahead.pop(0))
        else:
            assert await self._network.deliver(self._calls.pivot), "the pivot was refused"
            self._behind = list(self._calls.finishes)

    async def _forward(self, place: int, calls: tuple[Call, Call]) -> None:
        call, undo = calls
        if place == self._order.gives_up_at:  # whatever the outcome: unknown is never taken for failed
            await (self._network.deliver(call) if self._order.arrives else self._held_back(call))
            self._undos.insert(0, undo)
            self._behind = self._undos
        elif await self._network.deliver(call):
            self._undos.insert(0, undo)
        else:
            self._behind = self._undos

    async def _held_back(self, call: Call) -> None:
        self._network.hold_back(call)


# --- random orders, stocks, balances and schedules --------------------------------------------------------------------

_few = st.integers(min_value=0, max_value=6)


@st.composite
def random_orders(draw: st.DrawFn) -> list[RandomOrder]:
    """Two to four orders for the same few articles."""

    def random_order(number: int) -> RandomOrder:
        skus = draw(st.lists(st.sampled_from(["apple", "pear"]), min_size=1, max_size=2, unique=True))
        return RandomOrder(
            number,
            draw(st.sampled_from(["ada", "ada", "bob"])),
            {sku: draw(st.integers(1, 3)) for sku in skus},
            draw(st.sampled_from(["DE", "DE", "DE", "AQ"])),
            draw(st.none() | st.integers(0, GIVEN_UP - 1)),
            draw(st.booleans()),
        )

    return [random_order(number) for number in range(draw(st.integers(2, 4)))]


Event = tuple[str, int]
"""`("step", n)`: coordinator n makes its next call. `("again", n)`: the network repeats call n."""
_schedules = st.lists(st.tuples(st.sampled_from(["step", "step", "again"]), st.integers(0, 50)), max_size=40)


@pytest.fixture(scope="module")
def files(sqlite_templates: Path, tmp_path_factory: pytest.TempPathFactory) -> SqliteFiles:
    return SqliteFiles(tmp_path_factory.mktemp("orders"), sqlite_templates)


# It is told as it was found: to shrink it takes longer than a test may, and then no one is told what is wrong.
@settings(max_examples=12, derandomize=True, deadline=None, phases=[Phase.generate])
@given(placed=random_orders(), stocks=st.tuples(_few, _few), balances=st.tuples(_few, _few), schedule=_schedules)
def test_orders_that_cross_in_any_order_leave_the_audit_clean(
    files: SqliteFiles,
    placed: list[RandomOrder],
    stocks: tuple[int, int],
    balances: tuple[int, int],
    schedule: list[Event],
) -> None:
    asyncio.run(_run(files, placed, stocks, balances, schedule))


async def _run(
    files: SqliteFiles,
    placed: list[RandomOrder],
    stocks: tuple[int, int],
    balances: tuple[int, int],
    schedule: list[Event],
) -> None:
    async with AsyncExitStack() as stack:
        harnesses = {}
        for service in SERVICES_WITH_TRACES:
            harnesses[service] = ServiceHarness(service, await files.migrated(service))
            stack.push_async_callback(harnesses[service].database.dispose)
        apples, pears = stocks
        await harnesses["inventory"].accept(
            Call(inventory.set_stock, stock_level("apple", apples)),
            Call(inventory.set_stock, stock_level("pear", pears)),
        )
        await harnesses["payment"].accept(
            Call(payment.set_account, balance(10 * balances[0], "ada")),
            Call(payment.set_account, balance(10 * balances[1], "bob")),
        )
        network = Network(harnesses)
        coordinators = [Coordinator(random_order, network) for random_order in placed]
        for event, number in schedule:
            if event == "again":
                await network.deliver_again(number)
            elif not (coordinator := coordinators[number % len(coordinators)]).is_over:
                await coordinator.step()
        for coordinator in coordinators:
            while not coordinator.is_over:
                await coordinator.step()
        await _audit(harnesses)
        for number in reversed(range(len(network.sent))):  # every call once more, the latest first
            await network.deliver_again(number)
        note(", ".join(f"{tx}: {state}" for tx, state in (await _traces(harnesses)).orders.items()))
        await _audit(harnesses)


async def _traces(harnesses: dict[str, ServiceHarness]) -> Traces:
    async with reading(harnesses["order"].url) as connection:
        orders, coordinators = await crossing.read_orders(connection)
    states = {}
    for service in set(SERVICES_WITH_TRACES) - {"order"}:
        async with reading(harnesses[service].url) as connection:
            states[service] = await crossing.read_states(connection, service)
    return Traces(orders, coordinators, states, dict.fromkeys(crossing.JOINED - _CALLED))


async def _audit(harnesses: dict[str, ServiceHarness]) -> None:
    """Assert the invariants that `starter.py audit` checks, with no order under way."""
    found: list[Violation] = list(crossing.violations(await _traces(harnesses), set()))
    for service, harness in harnesses.items():
        async with reading(harness.url) as connection:
            found += await invariants.single_effect(connection, service)
            found += await invariants.stock(connection) if service == "inventory" else []
            found += await invariants.money(connection) if service == "payment" else []
    assert found == []
