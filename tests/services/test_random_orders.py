"""Orders that cross, over a network that repeats, delays and reorders what it carries: the audit finds nothing.

Each order has a coordinator that keeps the saga's rules: forward until a refusal or until it gives up, then every undo
in reverse; or the pivot, then every promise. Between it and the services is a network that may hold a call back until
after its undo, and that delivers anything it ever carried again, at any time.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from activities.database import reading
from activities.fence import Refusal
from audit import crossing, invariants
from audit.crossing import SERVICES_WITH_TRACES, Traces
from audit.report import Violation
from contracts import inventory, order, payment, shipping
from contracts.order import Order, OrderLine

from .bench import Bench, Call
from .databases import SqliteFiles
from .requests import address, charge, confirmation, contact, parcel, purse, reservation, shelf

GIVEN_UP = 4
"""Forward calls of an order, and so the greatest place at which its coordinator may give up."""


@dataclass(frozen=True)
class Wish:
    """An order and its fate: what it asks for, and at which forward call its coordinator gives up, if at any."""

    number: int
    customer_id: str
    units: dict[str, int]
    country: str = "DE"
    gives_up_at: int | None = None
    arrives: bool = True
    """Whether the call given up arrives before its undo, or only when the network delivers it again."""

    @property
    def transaction_id(self) -> str:
        return f"order/o-{self.number}"

    def __repr__(self) -> str:
        fate = "" if self.gives_up_at is None else f", given up at call {self.gives_up_at}"
        fate += "" if self.arrives or self.gives_up_at is None else ", which is late"
        return f"o-{self.number}: {self.units} for {self.customer_id} to {self.country}{fate}"

    @property
    def forwards(self) -> list[tuple[Call, Call]]:
        """Each call with its undo."""
        tx, order_id = self.transaction_id, f"o-{self.number}"
        lines = tuple(OrderLine(sku=sku, quantity=units, unit_price_minor=10) for sku, units in self.units.items())
        placed = Order(
            order_id=order_id,
            customer_id=self.customer_id,
            currency="EUR",
            lines=lines,
            ship_to=address(),
            contact=contact(),
        )
        creation = order.create.request(transaction_id=tx, order=placed)
        money = charge(10 * sum(self.units.values()), tx, self.customer_id)
        goods, box = reservation(tx, **self.units), parcel(self.country, tx)
        return [
            (Call(order.create, creation), Call(order.cancel, creation)),
            (Call(payment.authorize, money), Call(payment.cancel, money)),
            (Call(inventory.reserve, goods), Call(inventory.release, goods)),
            (Call(shipping.schedule, box), Call(shipping.cancel, box)),
        ]

    @property
    def promises(self) -> list[Call]:
        _, (authorize, _), (reserve, _), (schedule, _) = self.forwards
        return [
            Call(payment.capture, authorize.request),
            Call(inventory.commit, reserve.request),
            Call(shipping.dispatch, schedule.request),
        ]


@dataclass
class Network:
    """The services' side: delivers a call, and remembers it so as to deliver it again."""

    benches: dict[str, Bench]
    carried: list[Call] = field(default_factory=list)

    async def deliver(self, call: Call) -> bool:
        """Whether it was done."""
        self.carried.append(call)
        return not isinstance(await self.benches[call.operation.queue].deliver(*call), Refusal)

    def hold_back(self, call: Call) -> None:
        self.carried.append(call)

    async def deliver_again(self, number: int) -> None:
        if self.carried:
            call = self.carried[number % len(self.carried)]
            await self.benches[call.operation.queue].deliver(*call)


class Coordinator:
    """Makes the calls of one order, one at each `step`."""

    def __init__(self, wish: Wish, network: Network) -> None:
        self._wish = wish
        self._network = network
        self._undos: list[Call] = []
        self._ahead = list(enumerate(wish.forwards))
        self._behind: list[Call] | None = None
        """What is left of the way back or of the promises, once the order is decided."""

    @property
    def is_over(self) -> bool:
        return self._behind == []

    async def step(self) -> None:
        if self._behind is not None:
            assert await self._network.deliver(self._behind.pop(0)), "an undo or a promise was refused"
        elif self._ahead:
            await self._forward(*self._ahead.pop(0))
        else:
            pivot = Call(order.confirm, confirmation(self._wish.transaction_id, f"o-{self._wish.number}"))
            assert await self._network.deliver(pivot)
            self._behind = self._wish.promises

    async def _forward(self, place: int, calls: tuple[Call, Call]) -> None:
        call, undo = calls
        if place == self._wish.gives_up_at:  # whatever became of the call: unknown is never taken for failed
            await (self._network.deliver(call) if self._wish.arrives else self._held_back(call))
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
def wishes(draw: st.DrawFn) -> list[Wish]:
    """Two to four orders that want the same few things."""

    def wish(number: int) -> Wish:
        skus = draw(st.lists(st.sampled_from(["apple", "pear"]), min_size=1, max_size=2, unique=True))
        return Wish(
            number,
            draw(st.sampled_from(["ada", "ada", "bob"])),
            {sku: draw(st.integers(1, 3)) for sku in skus},
            draw(st.sampled_from(["DE", "DE", "DE", "AQ"])),
            draw(st.none() | st.integers(0, GIVEN_UP - 1)),
            draw(st.booleans()),
        )

    return [wish(number) for number in range(draw(st.integers(2, 4)))]


Event = tuple[str, int]
"""`("step", n)`: the coordinator n makes its next call. `("again", n)`: the network delivers call n again."""
_schedules = st.lists(st.tuples(st.sampled_from(["step", "step", "again"]), st.integers(0, 50)), max_size=40)


@pytest.fixture(scope="module")
def files(sqlite_templates: Path, tmp_path_factory: pytest.TempPathFactory) -> SqliteFiles:
    return SqliteFiles(tmp_path_factory.mktemp("orders"), sqlite_templates)


@settings(max_examples=12, derandomize=True, deadline=None)
@given(wishes=wishes(), shelves=st.tuples(_few, _few), purses=st.tuples(_few, _few), schedule=_schedules)
def test_orders_that_cross_in_any_order_leave_the_audit_clean(
    files: SqliteFiles,
    wishes: list[Wish],
    shelves: tuple[int, int],
    purses: tuple[int, int],
    schedule: list[Event],
) -> None:
    asyncio.run(_live(files, wishes, shelves, purses, schedule))


async def _live(
    files: SqliteFiles, wishes: list[Wish], shelves: tuple[int, int], purses: tuple[int, int], schedule: list[Event]
) -> None:
    async with AsyncExitStack() as stack:
        benches = {}
        for service in SERVICES_WITH_TRACES:
            benches[service] = Bench(service, await files.migrated(service))
            stack.push_async_callback(benches[service].database.dispose)
        apples, pears = shelves
        await benches["inventory"].accept(
            Call(inventory.set_stock, shelf("apple", apples)), Call(inventory.set_stock, shelf("pear", pears))
        )
        await benches["payment"].accept(
            Call(payment.set_account, purse(10 * purses[0], "ada")),
            Call(payment.set_account, purse(10 * purses[1], "bob")),
        )
        network = Network(benches)
        coordinators = [Coordinator(wish, network) for wish in wishes]
        for event, number in schedule:
            if event == "again":
                await network.deliver_again(number)
            elif not (coordinator := coordinators[number % len(coordinators)]).is_over:
                await coordinator.step()
        for coordinator in coordinators:
            while not coordinator.is_over:
                await coordinator.step()
        await _audit(benches)
        for number in reversed(range(len(network.carried))):  # all that was ever sent, once more, the latest first
            await network.deliver_again(number)
        note(", ".join(f"{tx}: {state}" for tx, state in (await _traces(benches)).orders.items()))
        await _audit(benches)


async def _traces(benches: dict[str, Bench]) -> Traces:
    async with reading(benches["order"].url) as connection:
        orders, coordinators = await crossing.read_orders(connection)
    states = {}
    for service in set(SERVICES_WITH_TRACES) - {"order"}:
        async with reading(benches[service].url) as connection:
            states[service] = await crossing.read_states(connection, service)
    return Traces(orders, coordinators, states)


async def _audit(benches: dict[str, Bench]) -> None:
    """What `starter.py audit` asks of the databases, with no order under way."""
    found: list[Violation] = list(crossing.violations(await _traces(benches), set()))
    for service, bench in benches.items():
        async with reading(bench.url) as connection:
            found += await invariants.single_effect(connection, service)
            found += await invariants.stock(connection) if service == "inventory" else []
            found += await invariants.money(connection) if service == "payment" else []
    assert found == []
