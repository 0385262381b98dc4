"""Transactions given as data whose workflow was closed without an end: resumed, through the fence.

A transaction that Temporal calls canceled is not resumed: its owner has cancelled it before it began, for a saga that
has begun never ends so.
"""

import asyncio
from typing import Any, NamedTuple

from pydantic import ValidationError
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

from client import handles, transactions
from client.handles import Described, result_of
from contracts.errors import Code
from contracts.ids import TRANSACTION_WORKFLOW
from contracts.problems import first_problem
from contracts.transaction import Transaction
from recovery.orders import FINISH_TIMEOUT_S
from recovery.tolerance import Round

_CLOSED = f"WorkflowType = '{TRANSACTION_WORKFLOW}' AND ExecutionStatus IN ('Terminated', 'TimedOut')"


class Left(NamedTuple):
    """A transaction, as its document says, whose newest run was closed."""

    transaction: Transaction
    document: dict[str, Any]
    closed: Described

    @property
    def workflow_id(self) -> str:
        return self.transaction.workflow_id


class TransactionSweep:
    def __init__(self, client: Client, round_: Round) -> None:
        self._client = client
        self._round = round_

    async def left_behind(self) -> list[Left]:
        """Those whose newest run was closed from outside."""
        found = {run.id async for run in handles.listed(self._client, _CLOSED)}
        return await self._round.each(sorted(found), str, self._if_left)

    async def _if_left(self, workflow_id: str) -> Left | None:
        newest = await handles.describe(self._client, workflow_id)
        if newest is None or newest.status not in (
            WorkflowExecutionStatus.TERMINATED,
            WorkflowExecutionStatus.TIMED_OUT,
        ):
            return None
        document = await handles.document_of(self._client, workflow_id)
        try:
            transaction = Transaction.model_validate(document)
        except ValidationError as error:
            self._round.note(workflow_id, Code.INVALID_TRANSACTION, first_problem(error))
            return None
        if transaction.workflow_id != workflow_id:
            self._round.note(workflow_id, Code.INVALID_TRANSACTION, f"its document is {transaction.workflow_id}'s")
            return None
        return Left(transaction, document, newest)

    async def finish(self, left: Left) -> bool:
        """Resume it, in its turn if it had one; true if it came to an end."""
        try:
            await transactions.resume(self._client, left.closed, left.document)
            return await asyncio.wait_for(self._ended(left), FINISH_TIMEOUT_S)
        except (WorkflowAlreadyStartedError, TimeoutError):  # another sweep, or its owner, was faster; or it is parked
            return False

    async def _ended(self, left: Left) -> bool:
        """Wait until a later run has ended; false if it did not do so by itself."""
        await transactions.until_resumed(self._client, left.closed)
        try:
            await result_of(self._client.get_workflow_handle(left.workflow_id))
        except WorkflowFailureError as error:
            return isinstance(error.cause, ApplicationError)
        return True
