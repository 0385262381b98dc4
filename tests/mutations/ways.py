"""Defects of waits, of work in hand, of savepoints and of undos that see the reply."""

from .mutation import Edit, Mutation

_KERNEL, _CALLS, _UNDO, _PROGRESS = (f"temporal_saga/{name}.py" for name in ("kernel", "calls", "undo", "progress"))
_OUTCOME, _POLICY = "temporal_saga/outcome.py", "temporal_saga/policy.py"
_WAIT, _DEADLINE = "tests/kernel/test_wait_for.py", "tests/kernel/test_deadline.py"
_WORKING, _POINT = "tests/kernel/test_still_working.py", "tests/kernel/test_savepoints.py"
_COLOCATED = "tests/kernel/test_colocated.py"
_SEEING = "tests/kernel/test_seeing_undos.py"

_WAITS = (
    Mutation(
        "a wait whose time is over goes on as if its condition held",
        Edit(
            _PROGRESS,
            "                failed = Unknown(WAIT_TIMEOUT,",
            "                return None\n                Unknown(",
        ),
        f"{_WAIT}::test_a_wait_whose_time_is_over_rolls_back_with_its_code",
    ),
    Mutation(
        "a wait ends in time though an earlier execution may have passed the pivot",
        Edit(
            _PROGRESS,
            "            await run_to_completion(_until_it_holds(holds))\n            return None\n",
            '            failed = Unknown(WAIT_TIMEOUT, "", 0)\n',
        ),
        f"{_WAIT}::test_a_wait_has_no_end_where_an_earlier_execution_may_have_passed_the_pivot",
    ),
    Mutation(
        "the first step of a colocated saga is local, because another call was begun before it",
        Edit(_KERNEL, "if not self._rollback.has_opened:", "if not self._journal.log.steps:"),
        f"{_COLOCATED}::test_each_call_of_an_opening_group_is_in_the_history_before_it_is_made",
        f"{_WAIT}::test_nothing_takes_the_place_of_the_first_step_of_a_colocated_saga[wait]",
        f"{_WAIT}::test_nothing_takes_the_place_of_the_first_step_of_a_colocated_saga[best effort]",
    ),
    Mutation(
        "a deadline that is moved keeps its old timer",
        Edit(_PROGRESS, "            self.stop_timer()\n            self._start_timer()\n", "            pass\n"),
        f"{_DEADLINE}::test_a_deadline_that_is_moved_gives_the_saga_the_time_and_is_in_its_log",
    ),
    Mutation(
        "the begin of the saga takes back a deadline that was moved before",
        Edit(_PROGRESS, "if self._due is None and self._deadline is not None:", "if self._deadline is not None:"),
        f"{_DEADLINE}::test_a_deadline_may_be_moved_before_the_saga_begins",
    ),
    Mutation(
        "a deadline can be moved after the pivot",
        Edit(
            _PROGRESS,
            "        if self.phase is Phase.COMMITTED:\n            raise DeadlineRefused",
            "        if False:\n            raise DeadlineRefused",
        ),
        f"{_DEADLINE}::test_a_deadline_is_not_moved_from_the_pivot_on_nor_in_a_rollback[trip.confirm]",
    ),
)

_WORK_IN_HAND = (
    Mutation(
        "an answer that the work goes on is taken for a refusal",
        Edit(_OUTCOME, "        if cause.type == STILL_WORKING:\n", "        if False:\n"),
        f"{_WORKING}::test_a_service_that_has_work_in_hand_is_asked_again_after_the_pause[saga-car.hold]",
    ),
    Mutation(
        "a call with work in hand is parked",
        Edit(_CALLS, "self.journal.wait(entry, now + call.pause)", "self.journal.settle(entry, Status.PARKED, 0)"),
        f"{_WORKING}::test_a_service_that_has_work_in_hand_is_asked_again_after_the_pause[saga-hotel.release]",
    ),
    Mutation(
        "the pause that a service wants is not kept",
        Edit(_CALLS, "max(ended.pause or SHORTEST_PAUSE, SHORTEST_PAUSE,", "max(SHORTEST_PAUSE,"),
        f"{_WORKING}::test_a_service_that_has_work_in_hand_is_asked_again_after_the_pause[saga-car.hold]",
    ),
    Mutation(
        "a hasty service uses up the history of its saga",
        Edit(_CALLS, "SHORTEST_PAUSE, waited / _PART_OF_THE_WAIT)", "SHORTEST_PAUSE)"),
        f"{_WORKING}::test_the_pauses_are_never_shorter_than_a_hundredth_of_the_time_since_the_first_question",
    ),
    Mutation(
        "a service may work for ever",
        Edit(_CALLS, "if longest is not None and waited + self.pause >= longest:", "if False:"),
        f"{_WORKING}::test_a_step_is_bounded_by_its_own_time_also_where_the_deadline_is_later",
    ),
    Mutation(
        "a step gives up before the deadline, because its policy has a bound for sagas without one",
        Edit(_KERNEL, "            policy = replace(policy, longest_work=None)\n", "            pass\n"),
        f"{_WORKING}::test_a_step_with_a_deadline_has_no_other_bound",
    ),
    Mutation(
        "the undos of earlier steps do not wait for one with work in hand",
        Edit(_UNDO, "entry.status not in (Status.RUNNING, Status.WAITING)", "entry.status is not Status.RUNNING"),
        f"{_WORKING}::test_an_undo_that_has_work_in_hand_is_waited_for_by_the_undos_before_it",
    ),
    Mutation(
        "a decision about a parked call waits until its service has nothing in hand",
        Edit(
            _CALLS,
            "decision = await self._decision(entry.step, call.pause, call.working)",
            "decision = await workflow.sleep(call.pause)",
        ),
        f"{_WORKING}::test_an_operator_may_decide_about_a_parked_call_that_has_work_in_hand[skip]",
    ),
)

_SAVEPOINTS = (
    Mutation(
        "a step of unknown outcome is undone at its savepoint and once more at the end",
        Edit(_UNDO, "            self._unknown.remove(undo)\n", "            pass\n"),
        f"{_POINT}::test_a_step_of_unknown_outcome_since_a_savepoint_is_undone_once[work]",
    ),
    Mutation(
        "the way back to a savepoint undoes all that the saga has done",
        Edit(_UNDO, "since = UndoStack(stack[stack.index(point) + 1 :])", "since = UndoStack(stack)"),
        f"{_POINT}::test_what_was_begun_since_a_savepoint_is_undone_in_reverse_and_groups_together",
    ),
    Mutation(
        "what was undone at a savepoint is undone again by a rollback",
        Edit(_UNDO, "        del stack[stack.index(point) + 1 :]\n", ""),
        f"{_POINT}::test_a_step_of_unknown_outcome_since_a_savepoint_is_undone_once[refuse]",
    ),
    Mutation(
        "a saga takes its own undo of a step for that of another execution",
        Edit(_KERNEL, "outcome.STEP_UNDONE and not undone_here:", "outcome.STEP_UNDONE:"),
        f"{_POINT}::test_the_same_step_after_its_undo_is_refused_and_tells_of_no_other_execution",
    ),
    Mutation(
        "a branch whose group has failed goes on after its way back",
        Edit(_KERNEL, "if task is not None and task.cancelling():", "if False:"),
        f"{_POINT}::test_a_branch_whose_group_fails_while_it_goes_back_begins_nothing_more",
    ),
    Mutation(
        "a cancel ends the way back, and leaves undos behind",
        Edit(_KERNEL, "await run_to_completion(self._rollback.run_to(point))", "await self._rollback.run_to(point)"),
        f"{_POINT}::test_a_cancel_while_it_goes_back_waits_for_the_undos_and_then_rolls_back[by_temporal-in phases]",
    ),
)

_REPLIES = (
    Mutation(
        "an undo sees no reply",
        Edit(_UNDO, "            pushed.reply = ended.reply\n", "            pass\n"),
        f"{_SEEING}::test_an_undo_sees_the_reply_of_its_step[policies0]",
    ),
    Mutation(
        "an undo sees the reply to a request that an operator has replaced",
        Edit(
            _CALLS,
            "                call = CallInProgress(operation, request, policy)\n            self",
            "                call = CallInProgress(operation, request, policy, call.reply)\n            self",
        ),
        f"{_SEEING}::test_an_undo_whose_request_an_operator_has_replaced_sees_no_reply",
    ),
)

MUTATIONS = (*_WAITS, *_WORK_IN_HAND, *_SAVEPOINTS, *_REPLIES)
