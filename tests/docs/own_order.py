"""`python -m tests.docs.own_order FOLDER`: orders with the step of docs/own-step.md, on a system of their own.

It is run in a copy of the repository in which that page was followed, and prints what came of the orders as JSON.
"""

import asyncio
import json
import os
import sqlite3
import sys
from functools import partial
from pathlib import Path
from typing import Any

from audit.run import audit
from cli import documents
from client.orders import Mode, Orders
from composition.serving import serving
from contracts.catalogue import OPERATIONS
from contracts.order import Order
from runtime import connection
from runtime.embedded import embedded_server, free_port
from runtime.execute import execute
from runtime.faults import Fault, FaultInterceptor, FaultKind
from runtime.seed import seed
from runtime.settings import Settings

_MODES = {"alone": Mode.SAGA, "by-events": Mode.CHOREOGRAPHY, "undone": Mode.SAGA}
_CUSTOMER = "c-1"
_QUERY = OPERATIONS["loyalty.read_points"]
_NO_PIVOT = Fault(operation="order.confirm", transaction="order/undone", kind=FaultKind.REFUSE)


async def _outcomes(folder: Path) -> dict[str, Any]:
    os.environ["DATABASE_URL"] = f"sqlite+aiosqlite:///{folder}/{{service}}.db"
    settings = Settings.read()
    async with embedded_server(port=free_port(), ui_port=free_port(), data=folder) as server:
        client = await connection.connect(settings, address=server.address)
        async with serving(client, settings, interceptors=[FaultInterceptor([_NO_PIVOT])]):
            await seed(partial(execute, client))
            placing = [Orders(client).place(_order(order_id), mode) for order_id, mode in _MODES.items()]
            logs = await asyncio.gather(*placing)
            report = await audit(client, settings)
            answer = await execute(client, _QUERY, _QUERY.request(customer_id=_CUSTOMER))
    with sqlite3.connect(folder / "loyalty.db") as loyalty:
        points = dict(loyalty.execute("SELECT transaction_id, state || ' ' || points FROM points"))
    return {
        "states": {log.transaction_id: log.state for log in logs},
        "points": points,
        "violations": [violation.message for violation in report.violations],
        "answer": answer.points,
    }


def _order(order_id: str) -> Order:
    line = {"sku": "BOOK-1", "quantity": 1, "unit_price_minor": 1299}
    return Order.model_validate(documents.document(order_id, _CUSTOMER, [line]))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_outcomes(Path(sys.argv[1])))))
