"""Workflow ids and the names of workflow types: one place builds them, parses them, and agrees with the workflows."""

import pytest

from composition.workers import WORKFLOWS
from contracts import ids
from contracts.ids import Coordinator, Kind
from workflows.participant import ParticipantWorkflow

BUILT = {
    ids.order_workflow_id("o-1"): (Kind.ORDER, "o-1", "", "order/o-1", True),
    ids.participant_id("o-1"): (Kind.PARTICIPANT, "o-1", "order", "order/o-1", True),
    ids.participant_id("o-1", "payment"): (Kind.PARTICIPANT, "o-1", "payment", "order/o-1", False),
    ids.transaction_workflow_id("t-1"): (Kind.TRANSACTION, "t-1", "", "transaction/t-1", False),
    ids.lane_id("c-1"): (Kind.LANE, "c-1", "", "lane/c-1", False),
    "order/o-1/x": (Kind.OTHER, "x", "", "order/o-1/x", False),
    "trip-1": (Kind.OTHER, "trip-1", "", "trip-1", False),
}


@pytest.mark.parametrize("workflow_id", BUILT)
def test_an_id_is_parsed_into_what_it_was_built_from(workflow_id: str) -> None:
    found = Coordinator.parse(workflow_id)
    about = (found.kind, found.name, found.service, found.transaction_id, found.decides_an_order)
    assert (found.workflow_id, about) == (workflow_id, BUILT[workflow_id])


def test_a_batch_has_an_id_of_its_own() -> None:
    first, second = ids.new_batch_id(), ids.new_batch_id()
    assert first != second
    assert Coordinator.parse(first).kind is Kind.BATCH


def test_clients_know_a_workflow_by_the_name_of_its_class() -> None:
    known = {value for name, value in vars(ids).items() if name.endswith("_WORKFLOW")}
    assert known == {each.__name__ for each in (*WORKFLOWS, ParticipantWorkflow)}
