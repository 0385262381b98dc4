"""A service of your own in a transaction: two plain activities, a worker, and the document that uses them.

    python examples/own_service.py &                                 # serves the queue `seats`
    python examples/own_service.py document | python starter.py transaction -

A seat of ours, and a book from the inventory to read in it: both or none. docs/own-service.md explains it line by line.
"""

import asyncio
import json
import sys
from dataclasses import dataclass

from temporalio import activity
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

DOCUMENT = {
    "transaction_id": "evening-1",
    "steps": [
        {
            "name": "seat",
            "commit": "seats.book",
            "rollback": "seats.free",
            "queue": "seats",
            "input": {"row": "A", "number": 7},
            "timeout_s": 5,
        },
        {
            "name": "book",
            "commit": "inventory.reserve",
            "rollback": "inventory.release",
            "input": {"order_id": "evening-1", "lines": [{"sku": "BOOK-1", "quantity": 1}]},
            "timeout_s": 5,
        },
    ],
}


@dataclass(frozen=True)
class BookSeat:
    """The input of the step, and the id of the transaction, which the orchestrator adds."""

    transaction_id: str
    row: str
    number: int

    @property
    def seat(self) -> str:
        return f"{self.row}{self.number}"


class Seats:
    """In memory, to stay short: a real service keeps both in its database, and changes them in one transaction."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}
        self.over: set[tuple[str, str]] = set()

    @activity.defn(name="seats.book")
    async def book(self, request: BookSeat) -> str:
        if (request.transaction_id, request.seat) in self.over:
            raise ApplicationError("this booking was taken back", type="STEP_UNDONE", non_retryable=True)
        if self.taken.setdefault(request.seat, request.transaction_id) != request.transaction_id:
            raise ApplicationError(f"seat {request.seat} is taken", type="SEAT_TAKEN", non_retryable=True)
        return request.seat

    @activity.defn(name="seats.free")
    async def free(self, request: BookSeat) -> str:
        self.over.add((request.transaction_id, request.seat))
        if self.taken.get(request.seat) == request.transaction_id:
            del self.taken[request.seat]
        return request.seat


async def serve() -> None:
    settings = {"target_host": "localhost:7233"} | ClientConfig.load_client_connect_config()  # TEMPORAL_ADDRESS, …
    client = await Client.connect(**settings)
    seats = Seats()
    async with Worker(client, task_queue="seats", activities=[seats.book, seats.free]):
        await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1:] == ["document"]:
        print(json.dumps(DOCUMENT))
    else:
        asyncio.run(serve())
