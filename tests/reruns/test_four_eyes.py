"""Authorization at the desk: with the interceptor of `examples/four_eyes.py`, a skip needs two people."""

import os
from pathlib import Path

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.worker import Replayer, Worker

from client.decisions import decisions
from client.desk import OperatorsDesk
from client.errors import DeskRefused
from composition.workers import WORKFLOW_RUNNER
from runtime.interceptors import interceptor_at
from runtime.settings import SettingsError
from temporal_saga import Retry, SagaPlugin, Skip, State, TransactionLog
from workflows.order import OrderWorkflow

from ..end_to_end.command import Program
from ..rig import UNREACHABLE, Handle, Rig, an_order

pytestmark = pytest.mark.asyncio(loop_scope="session")

_EXAMPLE = "examples.four_eyes:FourEyes"
_STEP, _REASON = "payment.cancel", "paid back by hand"


async def _parked(rig: Rig, task_queue: str) -> Handle:
    """An order whose money cannot be given back."""
    order = an_order(ship_to=UNREACHABLE)
    rig.refuse(_STEP, order.transaction_id)
    handle = await rig.client.start_workflow("OrderWorkflow", order, id=order.transaction_id, task_queue=task_queue)
    await rig.until_parked(handle, _STEP)
    return handle


async def _skip(rig: Rig, handle: Handle, actor: str) -> None:
    await OperatorsDesk(rig.client).decide(handle.id, _STEP, Skip(actor=actor, reason=_REASON))


async def _require_replays(rig: Rig, handle: Handle) -> None:
    replayer = Replayer(
        workflows=[OrderWorkflow],
        interceptors=[interceptor_at(_EXAMPLE)],
        plugins=[SagaPlugin()],
        workflow_runner=WORKFLOW_RUNNER,
        data_converter=rig.client.data_converter,
    )
    await replayer.replay_workflow(await handle.fetch_history())


async def test_a_skip_takes_effect_when_a_second_person_confirms_it(rig: Rig) -> None:
    async with Worker(
        rig.client,
        task_queue="watched",
        workflows=[OrderWorkflow],
        interceptors=[interceptor_at(_EXAMPLE)],
        plugins=[SagaPlugin()],
        workflow_runner=WORKFLOW_RUNNER,
        max_cached_workflows=0,  # every task replays the history, as after a restart
    ):
        handle = await _parked(rig, "watched")
        with pytest.raises(DeskRefused, match="ann has asked; the same skip by a second person confirms it"):
            await _skip(rig, handle, "ann")
        with pytest.raises(DeskRefused, match="ann has asked already"):
            await _skip(rig, handle, "ann")
        assert await rig.parked(handle) == {_STEP}
        await OperatorsDesk(rig.client).decide(handle.id, _STEP, Retry(actor="ann"))
        await rig.until_parked(handle, _STEP)
        await _skip(rig, handle, "ben")
        log = await rig.end(handle)
    assert (log.state, _note(log)) == (State.ROLLED_BACK_WITH_SKIPS, f"skipped by ann and ben: {_REASON}")
    logged = [(each.decision, each.actor) for each in await decisions(rig.client, handle.id, 10)]
    assert logged == [("skip", "ben"), ("retry", "ann"), ("skip", "ann")]
    await _require_replays(rig, handle)


def _note(log: TransactionLog) -> str | None:
    [entry] = [entry for entry in log.steps if entry.step == _STEP]
    return entry.note


async def test_a_skip_that_was_taken_before_the_interceptor_was_loaded_is_replayed_as_it_was(rig: Rig) -> None:
    handle = await _parked(rig, "orders")
    await _skip(rig, handle, "ann")
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    await _require_replays(rig, handle)


@pytest.mark.parametrize(
    "where", ["nowhere.to_be_found:FourEyes", "examples.four_eyes", "examples.four_eyes:Five", "json:JSONDecoder", ":x"]
)
async def test_an_interceptor_that_is_none_is_named(where: str) -> None:
    with pytest.raises(SettingsError, match=f"^--interceptor {where}: must be "):
        interceptor_at(where)


async def test_a_worker_loads_the_interceptor_that_it_is_given() -> None:
    environment = {**os.environ, "TEMPORAL_ADDRESS": "127.0.0.1:1"}  # where a worker without it ends too
    program = Program(["worker.py", "--interceptor", "json:JSONDecoder"], Path(__file__).parents[2], environment)
    answer = program.answer()
    assert (answer.code, answer.err) == (
        2,
        "error: --interceptor json:JSONDecoder: must be a subclass of temporalio.worker.Interceptor\n",
    )
