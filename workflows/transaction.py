"""A transaction given as data: a saga runs its steps in order."""

from datetime import timedelta
from typing import Any

from temporalio import workflow

from contracts.errors import Code
from contracts.outline import Outline
from contracts.remedy import remedy_for
from contracts.transaction import Transaction
from temporal_saga import Plan, Saga, SagaWorkflow, Step, TransactionLog, run_in_order
from workflows.announcing import announced
from workflows.inputs import check_workflow_id, parse_input


@workflow.defn
class TransactionWorkflow(SagaWorkflow):
    """Ends CONFIRMED, or fails with an `ApplicationError` whose type is the code and whose detail is the log."""

    @workflow.init
    def __init__(self, document: Any = None, resumed: bool = False) -> None:  # noqa: FBT001, FBT002 — as `run`
        self._transaction = parse_input(Transaction, document, Code.INVALID_TRANSACTION)
        check_workflow_id(self._transaction.workflow_id, Code.INVALID_TRANSACTION, "one transaction, one workflow")
        transaction_id = self._transaction.transaction_id
        self.saga = Saga(transaction_id, remedy=remedy_for(transaction_id), announce=announced())

    @workflow.run
    async def run(self, document: Any = None, resumed: bool = False) -> TransactionLog:  # noqa: FBT001, FBT002 — JSON
        """Run the transaction. `document` is a `Transaction` as JSON.

        `resumed`: its workflow was closed without an end. Its steps run again, which the fence makes safe.
        """
        async with self.saga as saga:
            await run_in_order(saga, _steps(self._transaction), resumed=resumed)
        return saga.log

    @workflow.query
    def outline(self) -> Outline:
        """The plan of the transaction."""
        plan = Plan()
        plan.follow(run_in_order(plan, _steps(self._transaction)))
        return Outline.of(plan)


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
