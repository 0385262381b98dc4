from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from contracts import inventory, payment
from contracts.inventory import SetStock
from contracts.payment import SetAccount
from runtime import connection
from runtime.embedded import embedded_server, free_port
from runtime.execute import execute
from runtime.faults import FaultInterceptor
from runtime.settings import Settings
from worker import serving

from .harness import CUSTOMER, SKU, Harness


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Harness]:
    """One system for all tests of a module, on a real server: the one that skips time resets no workflow."""
    folder = tmp_path_factory.mktemp("reruns")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{folder}/{{service}}.db")
        settings = Settings.read()
        async with embedded_server(port=free_port(), ui_port=free_port(), data=folder) as server:
            client = await connection.connect(settings, address=server.address)
            made = Harness(client)
            async with serving(client, settings, interceptors=[FaultInterceptor(made.faults)]):
                await execute(client, inventory.set_stock, SetStock(transaction_id="stock", sku=SKU, on_hand=1000))
                money = SetAccount(transaction_id="money", customer_id=CUSTOMER, balance_minor=10**6)
                await execute(client, payment.set_account, money)
                yield made
