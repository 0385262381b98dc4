"""A workflow that gives its steps as activity methods instead of a document."""

from datetime import timedelta

from temporalio import workflow

from temporal_saga import Saga, SagaWorkflow, Step, run_in_order

with workflow.unsafe.imports_passed_through():
    from .bank import Bank, Transfer

QUEUE = "bank"


@workflow.defn
class TransferWorkflow(SagaWorkflow):
    @workflow.init
    def __init__(self, out: Transfer, into: Transfer) -> None:  # noqa: ARG002 — as `run`
        self.saga = Saga(out.transaction_id)

    @workflow.run
    async def run(self, out: Transfer, into: Transfer) -> list[int]:
        five = timedelta(seconds=5)
        async with self.saga as saga:
            return await run_in_order(
                saga,
                [
                    Step(commit=Bank.withdraw, rollback=Bank.put_back, input=out, timeout=five, queue=QUEUE),
                    Step(commit=Bank.deposit, rollback=Bank.take_back, input=into, timeout=five, queue=QUEUE),
                ],
            )
