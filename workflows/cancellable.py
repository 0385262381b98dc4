"""The update by which a client cancels an order, of each workflow that runs one order or its part in one."""

from temporalio import workflow

from temporal_saga import CancellableSagaWorkflow


class CancellableOrderWorkflow(CancellableSagaWorkflow):
    """Base of a workflow whose order a client may cancel before the pivot."""

    @workflow.update
    def cancel_order(self, reason: str) -> None:
        """Do as `cancel_saga`, under the name that the clients of orders know."""
        self.observed.cancel(reason)

    @cancel_order.validator
    def _cancel_of_order_is_possible(self, reason: str) -> None:
        self._cancel_is_possible(reason)
