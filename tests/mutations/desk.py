"""Defects of the operator's desk, and of what follows from a decision."""

from .mutation import Edit, Mutation

_CALLS, _DESK = "temporal_saga/calls.py", "temporal_saga/desk.py"
_KERNEL_TESTS = "tests/kernel/test_desk.py"
_TESTS = "tests/transactions/test_desk.py"

_ROUNDS = (
    Mutation(
        "a parked call leaves the desk while it is tried again",
        Edit(
            _CALLS,
            "            self.desk.begin_round(entry.step, request)\n",
            "            self.desk.settle(entry.step)\n",
        ),
        f"{_KERNEL_TESTS}::test_a_parked_call_stays_on_the_desk_while_it_is_tried_again[trip.close]",
        f"{_KERNEL_TESTS}::test_a_skip_that_is_decided_while_a_round_runs_is_applied_when_that_fails",
    ),
    Mutation(
        "a call that got through stays on the desk",
        Edit(
            _CALLS,
            "                self.desk.settle(entry.step)\n                if entry.kind",
            "                if entry.kind",
        ),
        f"{_KERNEL_TESTS}::test_a_parked_call_stays_on_the_desk_while_it_is_tried_again[flight.ticket]",
    ),
    Mutation(
        "a decision that is made while a round runs is forgotten when that ends",
        Edit(
            _CALLS,
            "            self.desk.park(parked, operation, request)\n",
            "            self.desk.park(parked, operation, request)\n                self.desk.take(entry.step)\n",
        ),
        f"{_KERNEL_TESTS}::test_a_skip_that_is_decided_while_a_round_runs_is_applied_when_that_fails",
    ),
    Mutation(
        "a second decision replaces one that is accepted and not yet applied",
        Edit(
            _DESK, "        if case.waiting is not None:\n            before", "        if False:\n            before"
        ),
        f"{_KERNEL_TESTS}::test_a_second_decision_is_refused_until_the_first_is_applied",
    ),
    Mutation(
        "a round that an operator asked for doubles the pause",
        Edit(_CALLS, "rounds += decision is None", "rounds += 1"),
        f"{_KERNEL_TESTS}::test_a_round_that_was_asked_for_and_lasts_beyond_the_next_one_doubles_no_pause",
    ),
    Mutation(
        "a round that an operator asked for puts off the next automatic one",
        Edit(_CALLS, "due = due if due > now else now", "due = now"),
        f"{_KERNEL_TESTS}::test_a_decision_costs_nothing",
    ),
    Mutation(
        "an order with a skipped finish is called confirmed like any other",
        Edit("temporal_saga/journal.py", "State.CONFIRMED: State.CONFIRMED_WITH_SKIPS, ", ""),
        f"{_KERNEL_TESTS}::test_a_skipped_finish_is_said_in_the_end_and_in_the_search_attribute",
    ),
)

_REQUESTS = (
    Mutation(
        "`desk fix` sends the old request",
        Edit(_CALLS, "request, reply = decision.request, None", "reply = None"),
        f"{_TESTS}::test_a_fix_sends_the_new_request_and_the_desk_keeps_the_first_one_and_the_decisions",
    ),
    Mutation(
        "a request of another transaction is taken for a parked call",
        Edit(_DESK, "or transaction_of(decision.request) != ours", "or False"),
        f"{_TESTS}::test_a_request_that_the_operation_cannot_take_is_refused_and_the_first_one_kept"
        "[another transaction]",
    ),
    Mutation(
        "a request that the operation cannot take is accepted for a parked call",
        Edit(_DESK, "            if problem is not None:\n", "            if False:\n"),
        f"{_TESTS}::test_a_request_that_the_operation_cannot_take_is_refused_and_the_first_one_kept"
        "[a field is missing]",
    ),
    Mutation(
        "a field of a new request that nothing reads is accepted",
        Edit(_DESK, "found = inner if name not in read else", "found = None if name not in read else"),
        f"{_TESTS}::test_a_request_that_the_operation_cannot_take_is_refused_and_the_first_one_kept"
        "[a field that is not read]",
    ),
    Mutation(
        "the request that the saga asked for is lost when an operator replaces it",
        Edit(
            _DESK,
            "case.parked, case.request = parked, request",
            "case.parked, case.request, case.original = parked, request, request",
        ),
        Edit(
            _DESK,
            "            case.request, case.parked = request, replace(",
            "            case.original = case.request = request\n            case.parked = replace(",
        ),
        f"{_TESTS}::test_a_fix_sends_the_new_request_and_the_desk_keeps_the_first_one_and_the_decisions",
    ),
    Mutation(
        "a decision that is sent again while no worker runs is another decision",
        Edit("client/updates.py", 'return f"{found.run_id}-', 'return f"{asyncio.get_running_loop().time()}-'),
        f"{_TESTS}::test_a_decision_that_is_sent_twice_without_a_worker_is_taken_once",
    ),
    Mutation(
        "the same decision is taken only once in the life of a workflow",
        Edit("client/updates.py", "-{found.history_length}-", "-"),
        f"{_TESTS}::test_a_decision_that_is_sent_again_later_is_another_one",
    ),
)

_SKIPS = (
    Mutation(
        "a skip explains whatever else is wrong with its order",
        Edit("audit/skips.py", "    return [] if still_wrong else applied\n", "    return applied\n"),
        "tests/services/test_skips.py::test_a_skip_explains_nothing_but_its_own_step[payment]",
    ),
    Mutation(
        "a decision is known only as long as Temporal keeps its workflow",
        Edit("recovery/sweep.py", "        await keep_decisions(self._client, round_)\n", ""),
        "tests/recovery/test_orders.py::"
        "test_what_an_operator_has_decided_is_known_when_temporal_has_forgotten_the_order",
    ),
    Mutation(
        "the audit knows a skip only as long as Temporal keeps its workflow",
        Edit("audit/run.py", 'await skips.recorded(databases["order"])', "[]"),
        "tests/recovery/test_orders.py::"
        "test_what_an_operator_has_decided_is_known_when_temporal_has_forgotten_the_order",
    ),
    Mutation(
        "a skip is not published to the other participants",
        Edit("workflows/event_log.py", '"skipped": skipped})', '"skipped": False})'),
        "tests/choreography/test_delivery.py::test_a_skip_at_one_participant_shows_in_the_end_of_the_order[confirmed]",
    ),
    Mutation(
        "a skip at another participant does not show in the end of the order",
        Edit(
            "workflows/participant.py",
            "with_skips=any(self.events.happened[fact].skipped for fact in last.until)",
            "with_skips=False",
        ),
        "tests/choreography/test_delivery.py::test_a_skip_at_one_participant_shows_in_the_end_of_the_order"
        "[rolled back]",
    ),
    Mutation(
        "a request about another order is taken for a parked call",
        Edit("workflows/order.py", "        if named != placed.order_id:\n", "        if False:\n"),
        "tests/end_to_end/test_desk.py::test_a_fixed_request_is_tried_at_once_and_must_be_of_the_same_transaction",
    ),
    Mutation(
        "an order inside the new request of a parked call may be another one",
        Edit("workflows/order.py", "for each in document if isinstance(document, list) else ():", "for each in ():"),
        "tests/client/test_desk.py::test_a_new_request_may_name_its_order_anywhere_or_nowhere_but_no_other"
        "[request_of0]",
    ),
)

_WHO_DECIDES = (
    Mutation(
        "the example of four eyes lets one person confirm a skip",
        Edit("examples/four_eyes.py", "first.actor == skip.actor", "first is skip"),
        "tests/reruns/test_four_eyes.py::test_a_skip_takes_effect_when_a_second_person_confirms_it",
    ),
    Mutation(
        "the example of four eyes asks about a skip that was taken before it was loaded",
        Edit("examples/four_eyes.py", "if not workflow.patched(", "if None is workflow.patched("),
        "tests/reruns/test_four_eyes.py"
        "::test_a_skip_that_was_taken_before_the_interceptor_was_loaded_is_replayed_as_it_was",
    ),
    Mutation(
        "a worker does not load the interceptor that it is given",
        Edit("worker.py", "for where in interceptor or ()", "for where in ()"),
        "tests/reruns/test_four_eyes.py::test_a_worker_loads_the_interceptor_that_it_is_given",
    ),
)

MUTATIONS = (*_ROUNDS, *_REQUESTS, *_SKIPS, *_WHO_DECIDES)
