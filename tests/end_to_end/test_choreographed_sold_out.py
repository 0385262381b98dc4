"""More choreographed orders than units, while the services fail: not one unit is sold twice."""

import asyncio
from collections import Counter

import pytest

from client.orders import Mode, Orders
from contracts.order import Order
from runtime import connection
from runtime.settings import Settings

from .oversell import UNITS, assert_sold_out, open_the_shop, rival_orders
from .system import System

pytestmark = pytest.mark.xdist_group("choreographed")

_AT_ONCE = 25
"""Orders under way at once. Each is five workflows: more of them would only wait for the CPU."""


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("units", [10, UNITS])
async def test_twice_as_many_choreographed_orders_as_units_confirm_exactly_one_for_each(
    fresh_system: System, units: int
) -> None:
    orders = rival_orders(2 * units)
    open_the_shop(fresh_system, orders, units)
    client = await connection.connect(Settings(), address=f"127.0.0.1:{fresh_system.port}")
    turn = asyncio.Semaphore(_AT_ONCE)

    async def place(placed: Order) -> str:
        async with turn:
            log = await Orders(client).place(placed, Mode.CHOREOGRAPHY)
        return log.error.code if log.error is not None else log.state

    ends = Counter(await asyncio.gather(*(place(Order.model_validate(placed)) for placed in orders)))
    assert ends == {"CONFIRMED": units, "OUT_OF_STOCK": units}
    assert_sold_out(fresh_system, 2 * units)
