"""The workflows that may know a transaction, by their ids."""

from contracts.choreography import PARTICIPANTS
from contracts.ids import Coordinator, Kind, is_orders, order_id_of, participant_id, transaction_workflow_id, whole_of


def workflows_of(transaction_id: str, coordinator: str | None) -> list[str]:
    """`coordinator` is the workflow that the order service has on record, if it is not the order's own."""
    if not is_orders(transaction_id):
        whole = whole_of(transaction_id)
        return list(dict.fromkeys([transaction_id, whole, transaction_workflow_id(whole)]))
    if coordinator is not None and Coordinator.parse(coordinator).kind is not Kind.PARTICIPANT:
        return [transaction_id, coordinator]
    return [transaction_id, *(participant_id(order_id_of(transaction_id), service) for service in PARTICIPANTS)]
