"""Defects in what a saga makes of its other executions, and of time."""

from .mutation import Edit, Mutation

_KERNEL, _EARLIER, _CALLS = "temporal_saga/kernel.py", "temporal_saga/earlier.py", "temporal_saga/calls.py"
_UNDO, _PROGRESS, _OUTCOME = "temporal_saga/undo.py", "temporal_saga/progress.py", "temporal_saga/outcome.py"
_ORDER, _BATCH, _LANE = "workflows/order.py", "workflows/batch.py", "workflows/lane.py"
_PARTICIPANT = "workflows/participant.py"
_RULES = "temporal_saga/fence/rules.py"
_TEST = "tests/kernel/test_earlier.py"
_RERUNS = "tests/reruns/test_reruns.py"
_CARRIED = (
    "tests/recovery/test_orders.py::test_a_confirmed_order_that_a_batch_carries_again_without_an_answer_stays_confirmed"
)
_FORGOTTEN = f"{_RERUNS}::test_a_confirmed_order_that_temporal_has_forgotten_and_is_placed_again_stays_confirmed"
_DECIDED = f"{_RERUNS}::test_a_decided_transaction_that_is_run_again_while_a_service_is_down_is_not_rolled_back"

_UNDONE = (
    Mutation(
        "a step that was undone before counts as refused: there is nothing to undo",
        Edit(_KERNEL, "isinstance(ended, Refused) and ended.code == outcome.STEP_UNDONE and", "False and"),
        f"{_TEST}::test_a_step_that_was_undone_before_has_all_that_is_foreseen_undone[trip.open]",
        f"{_TEST}::test_a_saga_that_foresees_nothing_does_not_claim_to_be_rolled_back",
        f"{_RERUNS}::test_an_order_that_another_execution_unwinds_ends_when_every_undo_is_done[by_second_start]",
        f"{_RERUNS}::test_a_transaction_that_another_execution_unwinds_ends_when_every_undo_is_done",
    ),
    Mutation(
        "a workflow that catches that a step was undone goes on and confirms",
        Edit(_KERNEL, "self._progress.cause = self._progress.cause or Failure(", "Failure("),
        f"{_TEST}::test_a_step_that_was_undone_before_has_all_that_is_foreseen_undone[car.hold]",
    ),
    Mutation(
        "a batch takes an order that was undone before for refused",
        Edit(
            _BATCH,
            "refusal.code == STEP_UNDONE:\n            return True\n",
            "refusal.code == STEP_UNDONE:\n            return False\n",
        ),
        f"{_RERUNS}::test_a_batch_detaches_an_order_that_another_execution_unwinds",
    ),
    Mutation(
        "the fence says that a step was undone to a request that is another one",
        Edit(
            _RULES,
            "if found.digest != asked.digest:\n        return _conflict(asked)\n"
            "    if found.state in (OperationState.UNDONE, ",
            "if found.state in (OperationState.UNDONE, ",
        ),
        "tests/services/test_fence.py::test_a_late_forward_after_a_tombstone_is_refused[sqlite-payment.cancel]",
    ),
    Mutation(
        "a colocated saga does not undo the steps that its history has not seen begin",
        Edit(_UNDO, "(self._policies.are_colocated and self.has_opened)", "False"),
        f"{_TEST}::"
        "test_a_colocated_saga_undoes_what_a_worker_that_is_thought_dead_did_beyond_its_history[policies0-left0]",
    ),
)

_DECISION = (
    Mutation(
        "a step of unknown outcome rolls a resumed transaction back past its pivot",
        Edit(_PROGRESS, "return self.phase is Phase.PREPARING and self._earlier.may_have_decided", "return False"),
        f"{_TEST}::test_a_resumed_saga_gives_no_step_up_before_it_knows_whether_it_was_decided",
        f"{_DECIDED}[terminated and resumed]",
    ),
    Mutation(
        "a run that was reset to its start is taken for the first one",
        Edit(_EARLIER, "self._from_the_start = was_reset or", "self._from_the_start = False and"),
        f"{_DECIDED}[reset]",
    ),
    Mutation(
        "a run that was reset to a later task is taken for the first one",
        Edit(_EARLIER, " or workflow.random_seed() != self._seed", ""),
        f"{_DECIDED}[reset to a later task]",
    ),
    Mutation(
        "an order that is reset is rolled back without asking whether it was confirmed",
        Edit(_ORDER, "return not saga.is_rerun or", "return True or"),
        f"{_RERUNS}::test_a_confirmed_order_that_is_reset_while_a_service_is_down_stays_confirmed",
        f"{_FORGOTTEN}[saga-payment.authorize]",
    ),
    Mutation(
        "a reply of long ago is taken for a new one",
        Edit(_EARLIER, "        self._repeats = True", "        pass"),
        f"{_FORGOTTEN}[colocated-payment.authorize]",
        f"{_DECIDED}[forgotten and placed again]",
    ),
    Mutation(
        "an order whose creation got no answer is rolled back without asking whose it is",
        Edit(_ORDER, "        if creation is not None and _is_unknown(creation)", "        if False"),
        f"{_FORGOTTEN}[saga-order.create]",
        f"{_RERUNS}::test_an_order_whose_workflow_was_deleted_undoes_what_that_did_when_it_is_placed_again[saga]",
        f"{_RERUNS}::test_a_second_placing_that_gets_no_answer_leaves_the_order_of_a_batch_alone[colocated]",
    ),
    Mutation(
        "a choreography whose creation got no answer does not tell that the order is another one's",
        Edit(_PARTICIPANT, "return replace(refusal, step=calls[0].operation.step)", "return refusal"),
        f"{_RERUNS}::test_an_order_that_is_placed_again_as_a_choreography_without_an_answer_has_its_first_outcome",
    ),
    Mutation(
        "an order that its own workflow has not made yet counts as another one when it is placed as a choreography",
        Edit("client/orders.py", "if first is None and refused is not None:", "if False:"),
        "tests/recovery/test_orders.py::"
        "test_an_order_placed_as_a_choreography_beside_its_own_workflow_has_the_outcome_of_that",
    ),
    Mutation(
        "a second placing that a batch has left hides the first one",
        Edit("client/orders.py", "return await self._before_it_was_refused(transaction) or", "return None and"),
        f"{_CARRIED}[]",
    ),
    Mutation(
        "what a batch has left to be rolled back waits for an operator when it is another's",
        Edit(_ORDER, "if left_by_batch else", "if False else"),
        f"{_CARRIED}[and is cancelled there]",
    ),
    Mutation(
        "a local call that a dead worker had made tells of another execution",
        Edit(_KERNEL, "ended.is_repeated and policy.local is None:", "ended.is_repeated:"),
        "tests/kernel/test_colocated.py::test_a_local_call_that_a_dead_worker_had_made_tells_of_no_other_execution",
    ),
    Mutation(
        "a lost reply is taken for that of another execution",
        Edit(_OUTCOME, "return self.attempts == 1 and getattr(", "return getattr("),
        f"{_RERUNS}::test_a_reply_that_was_lost_tells_of_no_other_execution",
    ),
    Mutation(
        "a saga undoes what belongs to another one",
        Edit(_UNDO, "        self._is_disowned = True", "        pass"),
        f"{_RERUNS}::test_a_second_placing_that_gets_no_answer_leaves_the_order_of_a_batch_alone[saga]",
    ),
    Mutation(
        "what got no answer is undone although the order turns out to be confirmed",
        Edit(_UNDO, "        self._unknown.clear()", "        pass"),
        f"{_RERUNS}::test_a_confirmed_order_that_is_reset_while_a_service_is_down_stays_confirmed",
    ),
    Mutation(
        "a conflict counts as a proof that nothing was decided",
        Edit(_OUTCOME, "    return code != IDEMPOTENCY_CONFLICT\n", "    return True\n"),
        f"{_TEST}::test_a_conflict_does_not_tell_a_resumed_saga_that_it_was_not_decided[trip.confirm]",
    ),
    Mutation(
        "a takeover that finds the saga confirmed remembers an earlier cancel",
        Edit(_KERNEL, "        self._progress.cause = None  # a cancel that came", "        # a cancel that came"),
        f"{_TEST}::test_a_cancel_before_a_recovery_that_finds_the_saga_confirmed_has_no_effect",
    ),
)

_TIME = (
    Mutation(
        "after a refused pivot that the workflow catches, the deadline is gone",
        Edit(
            _PROGRESS,
            "        self.phase = Phase.PREPARING\n        self._start_timer()\n",
            "        self.phase = Phase.PREPARING\n",
        ),
        "tests/kernel/test_deadline.py::test_a_pivot_that_is_refused_and_caught_leaves_the_deadline",
    ),
    Mutation(
        "a step with a timeout of its own gives up after four attempts",
        Edit("temporal_saga/policy.py", "self.forward.retried_for(within)", "self.forward.bounded_by(within)"),
        "tests/transactions/test_steps.py::test_a_step_is_tried_again_until_its_timeout_is_over",
    ),
    Mutation(
        "a local call that was cancelled is made again over the queue",
        Edit(_CALLS, " or first.code == outcome.CANCELLED", ""),
        "tests/kernel/test_colocated.py::test_a_local_call_that_is_cancelled_is_not_made_again_over_the_queue",
    ),
    Mutation(
        "the transaction that holds a lane enters a second time",
        Edit(_LANE, "        if holding or entry.transaction_id", "        if entry.transaction_id"),
        "tests/transactions/test_lanes.py::test_a_transaction_that_holds_the_lane_is_not_entered_again",
    ),
)

_ANSWERS = (
    Mutation(
        "whether a refusal of the pivot decides is known before a reset while it runs",
        Edit(
            "temporal_saga/kernel.py",
            "self._earlier.proves_not_decided, within",
            "lambda code, ahead=self._earlier.may_be_ahead: not ahead or outcome.proves_not_done(code), within",
        ),
        "tests/kernel/test_earlier.py::"
        "test_a_conflict_does_not_tell_a_saga_that_was_reset_while_its_pivot_ran_that_it_was_not_decided",
    ),
    Mutation(
        "a colocated saga that is stopped in its first step takes it that no worker went on from that",
        Edit(
            _KERNEL,
            "        if not isinstance(ended, Refused):\n            self._rollback.has_opened",
            "        if isinstance(ended, Done):\n            self._rollback.has_opened",
        ),
        f"{_TEST}::test_a_colocated_saga_that_is_stopped_in_its_first_step_undoes_what_a_worker_did_beyond_it",
    ),
    Mutation(
        "two calls of one operation and one name have one step",
        Edit(
            "temporal_saga/journal.py",
            "return next(step for step in chain([operation], named, numbered) if step not in taken)",
            "return next(chain(named, numbered)) if operation in taken else operation",
        ),
        "tests/kernel/test_step_names.py::test_each_call_of_an_operation_has_a_step_of_its_own_whatever_its_name",
    ),
    Mutation(
        "a wait asks again for what it has found",
        Edit("temporal_saga/kernel.py", "            return found[0]\n", "            return holds()\n"),
        "tests/kernel/test_wait_for.py::test_each_of_two_waits_returns_what_it_found_although_the_first_has_taken_it",
    ),
)

MUTATIONS = (*_UNDONE, *_DECISION, *_TIME, *_ANSWERS)
