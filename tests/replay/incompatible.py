"""The order workflow after a change that its running executions would not survive."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow

from contracts.order import Order
from saga import Saga, TransactionLog
from workflows.order import OrderWorkflow


@workflow.defn(name="OrderWorkflow")
class SleepsFirst(OrderWorkflow):
    """An incompatible change: another first step."""

    async def _place(self, saga: Saga, placed: Order) -> None:
        await workflow.sleep(timedelta(seconds=1))
        await super()._place(saga, placed)

    @workflow.init
    def __init__(self, document: Any = None) -> None:
        super().__init__(document)

    @workflow.run
    async def run(self, document: Any = None) -> TransactionLog:
        return await super().run(document)
