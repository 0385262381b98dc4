"""The order workflow after changes that its running executions would not survive."""

from __future__ import annotations

from datetime import datetime, timedelta
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


@workflow.defn(name="OrderWorkflow")
class AsksTheClock(OrderWorkflow):
    """Another time at each replay. It decides nothing by it yet, so a replay alone sees nothing."""

    @workflow.init
    def __init__(self, document: Any = None, options: Any = None) -> None:
        super().__init__(document, options)

    @workflow.run
    async def run(self, document: Any = None, options: Any = None) -> TransactionLog:
        self._begun = datetime.now()  # noqa: DTZ005 — what is wrong about it
        return await super().run(document, options)
