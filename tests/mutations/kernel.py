"""Defects of the saga kernel."""

from .mutation import Edit, Mutation

_KERNEL, _CALLS, _UNDO, _GROUP = (
    "temporal_saga/kernel.py",
    "temporal_saga/calls.py",
    "temporal_saga/undo.py",
    "temporal_saga/group.py",
)
_PROGRESS = "temporal_saga/progress.py"
_TESTS = "tests/kernel"
_MISUSED = f"{_TESTS}/test_misuse.py"
_BUG_IS_SAID = f"{_MISUSED}::test_what_would_lose_an_undo_or_an_end_is_a_bug_that_is_said"
_FAULTS = f"{_TESTS}/test_every_fault.py::test_a_trip_is_booked_whole_or_not_at_all"
_RANDOM = f"{_TESTS}/test_random_sagas.py::test_a_random_saga_is_all_done_or_all_undone"

_FORWARD = (
    Mutation(
        "a log line has its step and its saga in fields alone, which a plain log does not show",
        Edit("temporal_saga/journal.py", '"%s: %s %s %s%s", *told', '"step"'),
        f"{_TESTS}/test_desk.py::test_a_parked_call_stays_on_the_desk_while_it_is_tried_again[flight.ticket]",
    ),
    Mutation(
        "an undo is pushed after its step, once that is known to be done",
        Edit(_UNDO, "        stack.append(pushed)\n", ""),
        Edit(
            _UNDO,
            "        if isinstance(ended, Refused) and not self._earlier.may_be_ahead:\n"
            "            stack.remove(pushed)",
            "        if not isinstance(ended, Refused | Unknown):\n            stack.append(pushed)",
        ),
        f"{_FAULTS}[reply lost]",
        _RANDOM,
    ),
    Mutation(
        "a step of unknown outcome is taken for refused, and not undone",
        Edit(
            _UNDO,
            "isinstance(ended, Refused) and not self._earlier.may_be_ahead:\n            stack",
            "isinstance(ended, Refused | Unknown):\n            stack",
        ),
        f"{_FAULTS}[reply lost]",
        _RANDOM,
    ),
    Mutation(
        "`except Exception` around a step: a cancellation passes by, and what it leaves in doubt is not written down",
        Edit(
            _KERNEL,
            "except asyncio.CancelledError:  # it came together with the reply",
            "except Exception:  # it came together with the reply",
        ),
        f"{_TESTS}/test_worker.py::test_a_cancel_that_comes_together_with_a_reply_undoes_the_step",
    ),
    Mutation(
        "a group is unwound while a call of it is still under way",
        Edit(_GROUP, "        await run_to_completion(_end_of(tasks, settle))\n", ""),
        f"{_TESTS}/test_parallel.py::test_a_call_that_settles_in_time_is_known_and_undone[flight.hold-hotel.hold]",
    ),
    Mutation(
        "a step in doubt that the workflow has replaced by another is left standing",
        Edit(_KERNEL, "        await run_to_completion(self._rollback.run_unknown())\n", ""),
        f"{_TESTS}/test_body.py::test_a_step_of_unknown_outcome_that_was_replaced_is_undone_before_the_confirmation",
    ),
)

_PIVOT = (
    Mutation(
        "the pivot is ignored: a cancel is accepted after it",
        Edit(
            _PROGRESS,
            "        if self.phase is Phase.COMMITTED:\n            raise CancelRefused",
            "        if False:\n            raise CancelRefused",
        ),
        f"{_TESTS}/test_cancel.py::test_the_business_cannot_cancel_from_the_pivot_on[flight.ticket]",
    ),
    Mutation(
        "the pivot counts from its answer on, not from its question: a cancel in between is accepted",
        Edit(_KERNEL, "        self._progress.commit()\n", "        self._progress.stop_timer()\n"),
        Edit(
            _KERNEL,
            "            self._progress.reopen()\n",
            "            self._progress.reopen()\n        else:\n            self._progress.commit()\n",
        ),
        f"{_TESTS}/test_cancel.py::test_the_business_cannot_cancel_from_the_pivot_on[trip.confirm]",
    ),
    Mutation(
        "the deadline reaches past the pivot",
        Edit(
            _PROGRESS,
            "        self.phase = Phase.COMMITTED\n        self.stop_timer()\n",
            "        self.phase = Phase.COMMITTED\n",
        ),
        Edit(_PROGRESS, "if self.cause is None and self._can_be_stopped:", "if self.cause is None:"),
        f"{_TESTS}/test_deadline.py::test_the_deadline_does_not_reach_past_the_pivot[flight.ticket]",
    ),
    Mutation(
        "a finish gives up when its attempts run out",
        Edit(
            _KERNEL,
            "        policy = self._policies.finish.bounded_by(within)\n"
            "        ended = await run_to_completion(self._calls.until_done(entry, operation, request, policy))\n",
            "        policy = self._policies.finish.bounded_by(within)\n"
            "        ended = await run_to_completion(attempt(operation, request, policy))\n",
        ),
        f"{_TESTS}/test_forward.py::test_a_promised_call_is_parked_for_hours_and_then_done[hotel.pay]",
    ),
)

_UNWINDING = (
    Mutation(
        "undos run in the order of their steps, not in reverse",
        Edit(_UNDO, "top = stack.pop()", "top = stack.pop(0)"),
        f"{_FAULTS}[reply lost]",
        _RANDOM,
    ),
    Mutation(
        "the undos of a group run one after the other",
        Edit(
            _UNDO,
            "await asyncio.gather(*(self._unwind(branch, point) for branch in top))",
            "for branch in top:\n                    await self._unwind(branch, point)",
        ),
        f"{_TESTS}/test_unwinding.py::test_a_refused_pivot_undoes_the_trip_in_reverse_and_each_group_together",
    ),
    Mutation(
        "`except Exception` where the unwinding is waited for: a second cancellation ends the workflow in its midst",
        Edit(
            "temporal_saga/waiting.py",
            "        except asyncio.CancelledError:\n            reason",
            "        except Exception:\n            reason",
        ),
        f"{_TESTS}/test_cancel.py::test_a_cancel_does_not_disturb_the_unwinding[car.release-by_temporal-in phases]",
        f"{_TESTS}/test_cancel.py::test_a_native_cancel_from_the_pivot_on_is_survived[trip.confirm-in phases]",
    ),
    Mutation(
        "an undo that was refused counts as done",
        Edit(_CALLS, "                and may_refuse(ended.code)\n", ""),
        f"{_TESTS}/test_unwinding.py::test_an_undo_that_is_refused_or_hangs_is_parked_too[car.release-refuse]",
    ),
    Mutation(
        "an undo is given up after three rounds",
        Edit(
            _CALLS,
            "                rounds += decision is None\n",
            "                rounds += decision is None\n"
            "                if rounds == 3:\n                    return None\n",
        ),
        f"{_TESTS}/test_unwinding.py::"
        "test_an_undo_that_fails_for_hours_is_parked_and_keeps_no_other_waiting[car.release]",
    ),
)

_COLOCATED = (
    Mutation(
        "a colocated saga is built without its body, and so cannot undo what its history has not seen",
        Edit(_KERNEL, "        if policies.are_colocated and body is None:", "        if False:"),
        f"{_TESTS}/test_colocated.py::test_a_colocated_saga_cannot_be_built_without_its_body",
    ),
    Mutation(
        "a colocated saga makes its first call before its history says that there is one",
        Edit(_KERNEL, "        if not self._rollback.has_opened:", "        if False:"),
        f"{_TESTS}/test_colocated.py::test_a_trip_without_trouble_uses_a_queue_only_for_its_first_step_and_its_pivot",
    ),
    Mutation(
        "a deadline that passes within a workflow task is not seen",
        Edit(_PROGRESS, "        if self.cause is None and self._is_late:", "        if False:"),
        f"{_TESTS}/test_colocated.py::test_the_deadline_holds_between_two_calls_of_one_workflow_task",
    ),
    Mutation(
        "whoever takes a colocated saga over makes its local calls again",
        Edit("temporal_saga/failover.py", "        if self.after_failover:\n", "        if False:\n"),
        f"{_TESTS}/test_colocated.py::test_a_worker_after_a_failover_makes_no_local_calls",
    ),
)

_MISUSE = (
    Mutation(
        "a pivot that an operator has fixed is taken for refused, though the first request has taken effect",
        Edit(_CALLS, "                and (not is_fixed or outcome.proves_not_done(ended.code))\n", ""),
        f"{_MISUSED}::test_a_pivot_that_was_fixed_after_an_unknown_outcome_is_not_taken_for_refused",
    ),
    Mutation(
        "a step that was made again after an unknown outcome is undone in a confirmed saga",
        Edit("temporal_saga/undo.py", "            self._done.append(pushed)\n", ""),
        f"{_MISUSED}::test_a_step_of_unknown_outcome_that_is_made_again_and_done_is_not_undone",
    ),
    Mutation(
        "an undo gets what the workflow has made of the request since",
        Edit("temporal_saga/undo.py", "deepcopy(request)", "request"),
        f"{_MISUSED}::test_an_undo_gets_the_request_that_its_step_has_got",
    ),
    Mutation(
        "a saga goes on in another run, without its undos",
        Edit("temporal_saga/progress.py", "if isinstance(error, workflow.ContinueAsNewError):", "if False:"),
        f"{_BUG_IS_SAID}[another run]",
    ),
    Mutation(
        "a saga within another puts its undos on the other's stack",
        Edit("temporal_saga/kernel.py", "        if current_stack.get(None) is not None:", "        if False:"),
        f"{_BUG_IS_SAID}[nested]",
    ),
    Mutation(
        "a saga is confirmed while a call of it goes on",
        Edit("temporal_saga/kernel.py", "            self._journal.require_answers()\n", ""),
        f"{_BUG_IS_SAID}[not awaited]",
    ),
    Mutation(
        "a pivot beside a step decides before that has answered",
        Edit("temporal_saga/kernel.py", "if stack_here() is not self._rollback.stack:", "if False:"),
        f"{_BUG_IS_SAID}[pivot in a group]",
    ),
    Mutation(
        "a step in a handler fails in the words of a variable of ours",
        Edit("temporal_saga/undo.py", "    if stack is None:", "    if False:"),
        f"{_MISUSED}::test_a_step_in_a_handler_is_a_bug_that_is_said",
    ),
    Mutation(
        "an attempt timeout of a step takes away the bound of the whole",
        Edit(
            "temporal_saga/policy.py",
            "return replace(policy, attempt_timeout=min(attempt_timeout or within, within))",
            "return policy.with_attempt_timeout(attempt_timeout or within)",
        ),
        f"{_MISUSED}::test_within_bounds_a_step_that_has_an_attempt_timeout_too",
    ),
    Mutation(
        "a field `attempt` of a service's own stops its saga for ever",
        Edit("temporal_saga/outcome.py", "(attempt if type(attempt) is int else 1)", "int(attempt)"),
        f"{_MISUSED}::test_a_field_of_a_services_own_is_not_taken_for_what_the_fence_says",
    ),
)
MUTATIONS = (*_FORWARD, *_PIVOT, *_UNWINDING, *_COLOCATED, *_MISUSE)
