"""The order workflow after changes with which its running executions do not replay."""

from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow

from temporal_saga import TransactionLog
from workflows.order import OrderWorkflow


@workflow.defn(name="OrderWorkflow")
class SleepsFirst(OrderWorkflow):
    """An incompatible change: another first command."""

    @workflow.init
    def __init__(self, document: Any = None, options: Any = None) -> None:
        super().__init__(document, options)

    @workflow.run
    async def run(self, document: Any = None, options: Any = None) -> TransactionLog:
        await workflow.sleep(timedelta(seconds=1))
        return await super().run(document, options)


@workflow.defn(name="OrderWorkflow")
class AsksTheClock(OrderWorkflow):
    """It reads the clock, and so another time at each replay. Nothing depends on it, so only the sandbox sees it."""

    @workflow.init
    def __init__(self, document: Any = None, options: Any = None) -> None:
        super().__init__(document, options)

    @workflow.run
    async def run(self, document: Any = None, options: Any = None) -> TransactionLog:
        self._started = datetime.now()  # noqa: DTZ005 — the defect
        return await super().run(document, options)
