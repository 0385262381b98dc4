"""Defects of the fence, the services, the order's workflow and the sweep."""

from __future__ import annotations

from .mutation import Edit, Mutation

_FENCE, _RECORDS, _SERVICE = "activities/fence.py", "activities/records.py", "activities/service.py"
_PAYMENT, _INVENTORY = "activities/payment.py", "activities/inventory.py"
_ORDER, _SWEEP, _LEASES = "workflows/order.py", "recovery/orders.py", "recovery/leases.py"
_TESTS, _WHOLE = "tests/services", "tests/end_to_end"
_RANDOM = f"{_TESTS}/test_random_orders.py::test_orders_that_cross_in_any_order_leave_the_audit_clean"

_ACT_AGAIN = Edit(
    _FENCE,
    "            raise Refusal(code, message)\n        return self._kept_reply(found)",
    "            raise Refusal(code, message)\n        return self.act(found, OperationState.DONE)",
)

_KEYS = (
    Mutation(
        "a fence without tombstones: an undo that finds nothing leaves no trace",
        (
            Edit(
                _FENCE,
                "return self.act(found or self.fresh, OperationState.TOMBSTONE)",
                "return self.decide().reply",
            ),
        ),
        (f"{_TESTS}/test_fence.py::test_a_late_forward_after_a_tombstone_is_refused[sqlite-payment.cancel]", _RANDOM),
    ),
    Mutation(
        "capture is not idempotent: delivered again, it takes the money again",
        (
            _ACT_AGAIN,
            Edit(
                _PAYMENT,
                'hold.state is not PaymentState.AUTHORIZED:\n        raise Refusal(Code.NOTHING_TO_ACT_ON, f"no auth',
                "hold.state not in (PaymentState.AUTHORIZED, PaymentState.CAPTURED):\n"
                '        raise Refusal(Code.NOTHING_TO_ACT_ON, f"no auth',
            ),
        ),
        (
            f"{_TESTS}/test_fence.py::"
            "test_a_duplicate_forward_gets_the_first_reply_and_acts_not[sqlite-payment.capture]",
        ),
    ),
    Mutation(
        "a refusal is not kept: a late attempt may act after a no was heard",
        (
            Edit(
                _FENCE,
                "self.uow.put([replace(self.fresh, state=OperationState.REFUSED, ",
                "([replace(self.fresh, state=OperationState.REFUSED, ",
            ),
        ),
        (
            f"{_TESTS}/test_fence.py::"
            "test_a_refusal_changes_nothing_and_is_kept_after_its_reason_is_gone[sqlite-inventory.reserve]",
        ),
    ),
    Mutation(
        "requests are not compared: another one under the same key gets the first one's reply",
        (Edit(_FENCE, "if found.digest != self.fresh.digest:", "if False:"),),
        (f"{_TESTS}/test_fence.py::test_another_request_under_the_same_key_is_a_conflict[sqlite-payment.authorize]",),
    ),
    Mutation(
        "keys are made from the run id, which a reset changes",
        (
            Edit(
                _ORDER,
                "tx, order_id = placed.transaction_id, placed.order_id",
                "tx, order_id = workflow.info().run_id, placed.order_id",
            ),
        ),
        (f"{_WHOLE}/test_reset.py::test_an_order_that_is_reset_to_its_start_acts_no_second_time",),
    ),
)

_ROWS = (
    Mutation(
        "the version check is dropped: a row is written whoever has written it since it was read",
        (Edit(_RECORDS, "        where=table.c.version == fresh.version - 1,\n", ""),),
        (
            f"{_TESTS}/test_records.py::test_a_row_that_another_has_written_meanwhile_is_not_written[sqlite]",
            f"{_TESTS}/test_records.py::test_a_row_that_another_has_written_meanwhile_is_not_written[postgresql]",
        ),
    ),
    Mutation(
        "rows are written in the order of the requests, so that two lists of orders can wait for each other",
        (
            Edit(
                _RECORDS,
                "for ref in sorted(self._changed, key=lambda ref: (ref.kind.table.name, ref.key)):",
                "for ref in self._changed:",
            ),
        ),
        (f"{_TESTS}/test_concurrency.py::test_two_batches_over_the_same_skus_in_opposite_order_cannot_deadlock",),
    ),
    Mutation(
        "who was slower is not decided again: a hot sku starves",
        (Edit(_SERVICE, "OPTIMISTIC_ATTEMPTS = 20", "OPTIMISTIC_ATTEMPTS = 1"),),
        (f"{_TESTS}/test_concurrency.py::test_a_transaction_that_lost_a_race_is_decided_again_within_the_call",),
    ),
    Mutation(
        "reserved units are sold again",
        (Edit(_INVENTORY, "if stock.available < line.quantity:", "if stock.on_hand < line.quantity:"),),
        (f"{_TESTS}/test_concurrency.py::test_fifty_orders_for_the_last_unit_in_one_process[sqlite]",),
    ),
)

_PROCESS = (
    Mutation(
        "goods are reserved without an undo",
        (
            Edit(
                _ORDER,
                "saga.step(inventory.reserve, requests.stock, undo=inventory.release)",
                "saga.step(inventory.reserve, requests.stock)",
            ),
        ),
        (f"{_WHOLE}/test_orders.py::test_an_order_that_cannot_be_is_rolled_back_and_says_which_step_and_why",),
    ),
    Mutation(
        "the sweep rolls back an order that was confirmed before its workflow was closed",
        (Edit(_ORDER, "        if not await self._revoked(saga):", "        if await self._revoked(saga):"),),
        (f"{_WHOLE}/test_recovery.py::test_an_order_terminated_past_the_pivot_is_finished_by_the_sweep",),
    ),
    Mutation(
        "the sweep restarts an order that is running",
        (
            Edit(_SWEEP, "return forgotten or self.is_closed_from_outside or failed", "return True"),
            Edit(_SWEEP, "WorkflowIDConflictPolicy.FAIL", "WorkflowIDConflictPolicy.TERMINATE_EXISTING"),
        ),
        (f"{_WHOLE}/test_recovery.py::test_a_sweep_leaves_running_orders_alone",),
    ),
    Mutation(
        "the sweep ends the lease of an order that is running",
        (
            Edit(
                _LEASES,
                "        candidates = [request for request in requests if",
                "        return list(requests)\n        candidates = [request for request in requests if",
            ),
        ),
        (f"{_WHOLE}/test_recovery.py::test_what_is_held_for_nobody_is_given_back_when_its_lease_is_over",),
    ),
    Mutation(
        "the sweep ends the lease of a part of a transaction that is running",
        (Edit(_LEASES, 'whole = request.transaction_id.partition("/")[0]', "whole = request.transaction_id"),),
        (f"{_WHOLE}/test_recovery.py::test_what_is_held_for_nobody_is_given_back_when_its_lease_is_over",),
    ),
    Mutation(
        "a colocated order that comes second undoes what the first one of its id has done",
        (Edit("saga/kernel.py", "not (is_colocated and self._opened)", "not is_colocated"),),
        (
            f"{_WHOLE}/test_batch.py::"
            "test_an_order_that_came_before_has_its_first_outcome_and_another_content_is_refused",
        ),
    ),
    Mutation(
        "an end with a skipped undo is called a rollback like any other",
        (
            Edit(
                "saga/journal.py",
                "skipped = with_skips or any(entry.status is Status.SKIPPED for entry in self._entries)",
                "skipped = False",
            ),
        ),
        ("tests/kernel/test_desk.py::test_a_skip_that_is_decided_while_a_round_runs_is_applied_when_that_fails",),
    ),
)

SERVICES = (*_KEYS, *_ROWS, *_PROCESS)
