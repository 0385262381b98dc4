"""The order workflow after a change that its running executions would not survive."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow

from saga import TransactionLog
from workflows.order import OrderWorkflow


@workflow.defn(name="OrderWorkflow")
class SleepsFirst(OrderWorkflow):
    """An incompatible change: another first step."""

    @workflow.init
    def __init__(self, document: Any = None, options: Any = None) -> None:
        super().__init__(document, options)

    @workflow.run
    async def run(self, document: Any = None, options: Any = None) -> TransactionLog:
        await workflow.sleep(timedelta(seconds=1))
        return await super().run(document, options)
