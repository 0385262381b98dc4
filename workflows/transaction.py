"""A transaction given as data: its steps in order, on the saga."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from contracts.errors import Code
from contracts.problems import first_problem
from contracts.transaction import Transaction
from saga import Saga, SagaWorkflow, Step, TransactionLog, run_in_order


@workflow.defn
class TransactionWorkflow(SagaWorkflow):
    """Ends CONFIRMED, or fails with an `ApplicationError` whose type is the code and whose detail is the log."""

    @workflow.init
    def __init__(self, document: Any = None, resumed: bool = False) -> None:  # noqa: FBT001, FBT002 — as `run`
        self._transaction = _valid(document)
        self._saga = Saga(self._transaction.transaction_id)

    @workflow.run
    async def run(self, document: Any = None, resumed: bool = False) -> TransactionLog:  # noqa: FBT001, FBT002 — JSON
        """`document` is a `Transaction` as JSON, checked here too: any client can start a workflow.

        `resumed` is for a transaction whose workflow was closed without an end: it is run again, through the fence.
        """
        async with self._saga as saga:
            await run_in_order(saga, _steps(self._transaction), resumed=resumed)
        return saga.log


def _steps(transaction: Transaction) -> list[Step]:
    return [
        Step(
            commit=step.operation,
            rollback=step.undo,
            input=step.request(transaction.transaction_id),
            timeout=timedelta(seconds=step.timeout_s),
            name=step.name,
        )
        for step in transaction.steps
    ]


def _valid(document: Any) -> Transaction:
    try:
        transaction = Transaction.model_validate(document)
    except ValidationError as error:  # not the cause: it would write the input into the history
        raise ApplicationError(first_problem(error), type=Code.INVALID_TRANSACTION, non_retryable=True) from None
    if workflow.info().workflow_id != transaction.workflow_id:
        message = f"workflow id must be {transaction.workflow_id}: one transaction, one workflow"
        raise ApplicationError(message, type=Code.INVALID_TRANSACTION, non_retryable=True)
    return transaction
