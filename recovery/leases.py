"""Holds of transactions that no order and no workflow accounts for are given back when their lease is over.

A hold is left alone while an order is on record for it, or a workflow of the transaction's name exists, in whatever
state. A running workflow undoes or keeps its holds itself; one that has ended decided to keep them; one that was closed
from outside may have decided, and is resumed (`recovery.transactions`) or started again by its owner. So a lease never
undoes what a transaction decided.
"""

from collections.abc import Sequence

from temporalio.client import Client

from client import handles
from client.coordinators import workflows_of
from client.records import on_record
from contracts.catalogue import LEASES
from contracts.errors import Code
from contracts.message import Lease, ListOpen, Request
from recovery.tolerance import Round
from runtime.execute import execute


class LeaseSweep:
    """`page` is the number of holds that a service lists at a time."""

    def __init__(self, client: Client, round_: Round, page: int) -> None:
        self._client = client
        self._round = round_
        self._page = page
        self._ended = 0

    async def end_all(self) -> int:
        """Give back what has outlived its lease; the number of holds given back."""
        for lease in LEASES:
            await self._round.tried(lease.expired.name, self._end(lease))
        return self._ended

    async def _end(self, lease: Lease) -> None:
        after = ""
        while True:
            page = await execute(self._client, lease.expired, ListOpen(after=after, limit=self._page))
            for each in page.unreadable:
                self._round.note(each.transaction_id, Code.UNREADABLE, f"{lease.expired.name}: {each.problem}")
            for request in await self._without_owner(page.requests):
                given = await self._round.tried(request.transaction_id, execute(self._client, lease.undo, request))
                self._ended += given is not None
            listed = [each.transaction_id for each in (*page.requests, *page.unreadable)]
            if len(listed) < self._page:
                return
            after = max(listed)

    async def _without_owner(self, requests: Sequence[Request]) -> list[Request]:
        known = await on_record(self._client, [request.transaction_id for request in requests])
        candidates = [request for request in requests if request.transaction_id not in known]
        return await self._round.each(candidates, lambda request: request.transaction_id, self._if_without_workflow)

    async def _if_without_workflow(self, request: Request) -> Request | None:
        """`request`, unless a workflow is named after its transaction: that of an order or of a generic transaction, or
        a participant."""
        for name in workflows_of(request.transaction_id, None):
            if await handles.status_of(self._client, name) is not None:
                return None
        return request
