"""Defects of the answer at the decision, and of what comes first in a queue."""

from .mutation import Edit, Mutation

_TESTS = "tests/client/test_decision.py"

MUTATIONS = (
    Mutation(
        "an order is told as confirmed when its pivot is called, not when it is done",
        Edit(
            "temporal_saga/kernel.py",
            "        self._progress.is_past_pivot = isinstance(ended, Done)\n",
            "        self._progress.is_past_pivot = True\n",
        ),
        f"{_TESTS}::test_an_order_whose_pivot_is_refused_is_not_told_as_confirmed",
    ),
    Mutation(
        "the question for a decision does not say of which content",
        Edit("client/updates.py", "hashlib.sha256(content)", "hashlib.sha256(b'')"),
        f"{_TESTS}::test_callers_who_ask_at_once_get_one_answer_and_another_content_is_refused",
    ),
    Mutation(
        "a colocated order answers with its decision when its finishes are done",
        Edit("workflows/order.py", "if self._options.colocated and not workflow", "if False and not workflow"),
        f"{_TESTS}::test_the_decision_of_a_colocated_order_is_told_while_its_finishes_run",
    ),
    Mutation(
        "the orders of a batch are told when all finishes are done",
        Edit("workflows/batch_member.py", "return self.past_pivot or self.detached", "return self.detached"),
        f"{_TESTS}::test_the_orders_of_a_batch_are_decided_before_it_ends",
    ),
    Mutation(
        "a client that asks for a batch of one order gets a saga",
        Edit("client/orders.py", "            case Mode.BATCH:\n", "            case None:\n"),
        f"{_TESTS}::test_a_single_order_is_not_placed_as_a_batch",
    ),
    Mutation(
        "the participant that decides does not know its own confirmation",
        Edit(
            "workflows/participant.py",
            "(*self.events.happened.values(), *self.events.published)",
            "self.events.happened.values()",
        ),
        f"{_TESTS}::test_a_client_is_told_the_decision_while_a_finish_is_open[choreography]",
    ),
    Mutation(
        "undos wait behind new orders",
        Edit("temporal_saga/calls.py", "            priority=policy.priority,\n", ""),
        "tests/recovery/test_priority.py::test_a_service_that_was_away_does_its_undos_first_and_batches_last",
    ),
    Mutation(
        "a batch has its turn before orders that are placed one by one",
        Edit("client/engines/batch.py", '            "priority": _PRIORITY,\n', ""),
        "tests/recovery/test_priority.py::test_a_service_that_was_away_does_its_undos_first_and_batches_last",
    ),
    Mutation(
        "an attribute that was written stays when the order is confirmed",
        Edit("temporal_saga/journal.py", "if self._attribute_writes or state is not", "if state is not"),
        "tests/kernel/test_forward.py::test_a_promised_call_is_parked_for_hours_and_then_done[trip.confirm]",
    ),
    Mutation(
        "a completed order without an attribute is listed as running",
        Edit("client/standing.py", "State.CONFIRMED if run.status is", "State.RUNNING if run.status is"),
        "tests/end_to_end/test_orders.py::test_orders_are_listed_by_state",
    ),
)
