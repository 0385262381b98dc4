"""An undo that is declared so sees what its step has replied, where the saga knows it, and does without where not."""

from dataclasses import replace

import pytest

from temporal_saga import POLICIES, Fix, Policies, State, Status

from .harness import Harness
from .plan import OPERATIONS, PIVOT, Receipt
from .policies import COLOCATED, ONE_ATTEMPT
from .services import Effect, FakeServices, fail, lose_reply, refuse
from .ways import CAR, FIRST, SeeingWorkflow

OPEN, HOLD = Receipt("trip.open", 1), Receipt("car.hold", 1)


@pytest.fixture
def services() -> FakeServices:
    return FakeServices(replace(each, takes_reply=each.undoes is not None) for each in OPERATIONS)


@pytest.mark.parametrize("policies", [POLICIES, COLOCATED])
async def test_an_undo_sees_the_reply_of_its_step(harness: Harness, policies: Policies) -> None:
    harness.services.script(PIVOT.name, then=refuse)
    end = await harness.run(SeeingWorkflow, policies=policies)
    assert end.log.state is State.ROLLED_BACK
    assert harness.services.seen == [("car.release", HOLD), ("trip.close", OPEN)]


async def test_an_undo_sees_no_reply_where_that_was_lost(harness: Harness) -> None:
    harness.services.script(CAR.name, lose_reply, then=fail)
    end = await harness.run(SeeingWorkflow)
    assert end.log.state is State.ROLLED_BACK
    assert harness.services.seen == [("car.release", None), ("trip.close", OPEN)]
    assert harness.services.of(Effect.HELD) == set()


async def test_an_undo_of_what_another_execution_did_sees_no_reply(harness: Harness) -> None:
    harness.services.script(FIRST.name, then=refuse)
    end = await harness.run(SeeingWorkflow, resumed=True)
    assert end.log.state is State.ROLLED_BACK
    assert harness.services.seen == [("car.release", None), ("trip.close", None)]


async def test_an_undo_whose_request_an_operator_has_replaced_sees_no_reply(harness: Harness) -> None:
    """The reply was one to the other request. A round that an operator asks for without a fix sees it again."""
    harness.services.script(PIVOT.name, then=refuse)
    harness.services.script("car.release", fail, fail)
    handle = await harness.start(SeeingWorkflow, policies=ONE_ATTEMPT)
    await harness.until_step(handle, "car.release", Status.PARKED)
    await handle.execute_update("desk_retry", "car.release")
    await harness.until_step(handle, "car.release", Status.PARKED, attempts=2)
    await handle.execute_update("desk_fix", args=["car.release", Fix("ann", {"transaction_id": handle.id})])
    assert (await harness.end(handle)).log.state is State.ROLLED_BACK
    seen = [reply for undo, reply in harness.services.seen if undo == "car.release"]
    assert seen == [HOLD, HOLD, None]
