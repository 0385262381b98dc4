"""Defects of the fence, the services, the order's workflow and the sweep, and of what must know of every service."""

from .mutation import Edit, Mutation

_FENCE, _RECORDS, _SERVICE = "activities/fence.py", "activities/records.py", "activities/service.py"
_RULES = "temporal_saga/fence/rules.py"
_PAYMENT, _INVENTORY = "activities/payment.py", "activities/inventory.py"
_ORDER, _SWEEP, _LEASES = "workflows/order.py", "recovery/orders.py", "recovery/leases.py"
_TESTS, _WHOLE = "tests/services", "tests/end_to_end"
_OWN_STEP = "tests/docs/test_own_step.py"
_LEFT_OUT = f"{_OWN_STEP}::test_what_was_left_out_is_told_by_the_list_and_by_the_tests_in_the_same_words"
_CATALOGUE, _CROSSING = "tests/test_catalogue.py", "tests/services/test_crossing.py"
_CONTENTS = (
    "tests/recovery/test_contents.py::"
    "test_a_confirmed_order_of_which_too_little_was_taken_is_named_though_the_sums_are_right"
)
_RANDOM = f"{_TESTS}/test_random_orders.py::test_orders_that_cross_in_any_order_leave_the_audit_clean"

_ACT_AGAIN = Edit(
    _RULES,
    "        return Refuse(code, message)\n    return Repeat(found.answer)",
    "        return Refuse(code, message)\n    return Act(OperationState.DONE, found.digest)",
)

_KEYS = (
    Mutation(
        "a fence without tombstones: an undo that finds nothing leaves no trace",
        Edit(
            _FENCE,
            "    uow.put([replace(left, answer=answer)])",
            "    if left.state is not RecordState.TOMBSTONE:\n        uow.put([replace(left, answer=answer)])",
        ),
        f"{_TESTS}/test_fence.py::test_a_late_forward_after_a_tombstone_is_refused[sqlite-payment.cancel]",
        _RANDOM,
    ),
    Mutation(
        "capture is not idempotent: delivered again, it takes the money again",
        _ACT_AGAIN,
        Edit(
            _PAYMENT,
            "hold.state is not PaymentState.AUTHORIZED:\n        raise RefusedDecision(Code.NOTHING_TO_ACT_ON",
            "hold.state not in (PaymentState.AUTHORIZED, PaymentState.CAPTURED):\n"
            "        raise RefusedDecision(Code.NOTHING_TO_ACT_ON",
        ),
        f"{_TESTS}/test_fence.py::test_a_duplicate_forward_gets_the_first_reply_and_acts_not[sqlite-payment.capture]",
    ),
    Mutation(
        "a refusal is not kept: a late attempt may act after a no was heard",
        Edit(
            _FENCE, "uow.put([replace(left, state=RecordState.REFUSED, ", "([replace(left, state=RecordState.REFUSED, "
        ),
        f"{_TESTS}/test_fence.py::"
        "test_a_refusal_changes_nothing_and_is_kept_after_its_reason_is_gone[sqlite-inventory.reserve]",
    ),
    Mutation(
        "requests are not compared: another one under the same key gets the first one's reply",
        Edit(_RULES, "    if found.digest != asked.digest:\n", "    if False:\n"),
        f"{_TESTS}/test_fence.py::test_another_request_under_the_same_key_is_a_conflict[sqlite-payment.authorize]",
    ),
    Mutation(
        "keys are made from the run id, which a reset changes",
        Edit(
            _ORDER,
            "tx, order_id = placed.transaction_id, placed.order_id",
            "tx, order_id = workflow.info().run_id, placed.order_id",
        ),
        "tests/reruns/test_reruns.py::test_a_confirmed_order_that_is_reset_while_a_service_is_down_stays_confirmed",
    ),
)

_ROWS = (
    Mutation(
        "the version check is dropped: a row is written whoever has written it since it was read",
        Edit(_RECORDS, "        where=table.c.version == fresh.version - 1,\n", ""),
        f"{_TESTS}/test_records.py::test_a_row_that_another_has_written_meanwhile_is_not_written[sqlite]",
        f"{_TESTS}/test_records.py::test_a_row_that_another_has_written_meanwhile_is_not_written[postgresql]",
    ),
    Mutation(
        "rows are written in the order of the requests, so that two lists of orders can wait for each other",
        Edit(
            _RECORDS,
            "for ref in sorted(self._changed, key=lambda ref: (ref.kind.table.name, ref.key)):",
            "for ref in self._changed:",
        ),
        f"{_TESTS}/test_concurrency.py::test_two_batches_over_the_same_skus_in_opposite_order_cannot_deadlock",
    ),
    Mutation(
        "who was slower is not decided again: a hot sku starves",
        Edit(_SERVICE, "OPTIMISTIC_ATTEMPTS = 20", "OPTIMISTIC_ATTEMPTS = 1"),
        f"{_TESTS}/test_concurrency.py::test_a_transaction_that_lost_a_race_is_decided_again_within_the_call",
    ),
    Mutation(
        "reserved units are sold again",
        Edit(_INVENTORY, "if stock.available < line.quantity:", "if stock.on_hand < line.quantity:"),
        f"{_TESTS}/test_concurrency.py::test_fifty_orders_for_the_last_unit_in_one_process[sqlite]",
    ),
)

_PROCESS = (
    Mutation(
        "goods are reserved without an undo",
        Edit(
            _ORDER,
            "saga.step(inventory.reserve, requests.stock, undo=inventory.release)",
            "saga.step(inventory.reserve, requests.stock)",
        ),
        f"{_WHOLE}/test_orders.py::test_a_refused_order_is_rolled_back_and_names_the_step_and_the_code",
    ),
    Mutation(
        "the sweep rolls back an order that was confirmed before its workflow was closed",
        Edit(_ORDER, "        if not await self._try_cancel", "        if await self._try_cancel"),
        f"{_WHOLE}/test_recovery.py::test_an_order_terminated_past_the_pivot_is_finished_by_the_sweep",
    ),
    Mutation(
        "the sweep restarts an order that is running",
        Edit(_SWEEP, "return forgotten or self.is_closed_from_outside or failed", "return True"),
        Edit("client/engines/saga.py", "WorkflowIDConflictPolicy.FAIL", "WorkflowIDConflictPolicy.TERMINATE_EXISTING"),
        f"{_WHOLE}/test_recovery.py::test_a_sweep_leaves_running_orders_alone",
    ),
    Mutation(
        "the sweep ends the lease of an order that is running",
        Edit(
            _LEASES,
            "        candidates = [request for request in requests if",
            "        return list(requests)\n        candidates = [request for request in requests if",
        ),
        f"{_WHOLE}/test_recovery.py::test_a_hold_without_an_open_workflow_is_released_when_its_lease_has_expired",
    ),
    Mutation(
        "the sweep ends the lease of a part of a transaction that is running",
        Edit("client/coordinators.py", "whole = whole_of(transaction_id)", "whole = transaction_id"),
        f"{_WHOLE}/test_recovery.py::test_a_hold_without_an_open_workflow_is_released_when_its_lease_has_expired",
    ),
    Mutation(
        "a colocated order that comes second undoes what the first one of its id has done",
        Edit(
            "temporal_saga/undo.py",
            "(self._policies.are_colocated and self.has_opened)",
            "self._policies.are_colocated",
        ),
        f"{_WHOLE}/test_batch.py::test_an_order_placed_before_keeps_its_first_outcome_and_another_content_is_refused",
    ),
    Mutation(
        "an end with a skipped undo is called a rollback like any other",
        Edit(
            "temporal_saga/journal.py",
            "skipped = with_skips or any(entry.status is Status.SKIPPED for entry in self._entries)",
            "skipped = False",
        ),
        "tests/kernel/test_desk.py::test_a_skip_that_is_decided_while_a_round_runs_is_applied_when_that_fails",
    ),
)

_EVERY_SERVICE = (
    Mutation(
        "the sweep does not ask a service that holds something",
        Edit(
            "contracts/catalogue.py",
            'for service in SERVICES if hasattr(service, "list_open")',
            'for service in SERVICES[:3] if hasattr(service, "list_open")',
        ),
        f"{_CATALOGUE}::test_the_sweep_asks_every_service_that_holds_something",
    ),
    Mutation(
        "the choreography leaves out a step of a parallel stage",
        Edit("workflows/choreography.py", "for call in stage.calls:\n", "for call in stage.calls[:1]:\n"),
        f"{_CATALOGUE}::test_the_choreography_makes_the_steps_and_the_finishes_of_the_plan_and_no_others[best_effort]",
    ),
    Mutation(
        "the choreography leaves out an undo of the process",
        Edit(
            "workflows/choreography.py",
            "if call.undo is not None:",
            'if call.undo is not None and service != "shipping":',
        ),
        f"{_CATALOGUE}::test_the_choreography_makes_the_undos_of_the_plan_in_reverse_and_no_others[required]",
    ),
    Mutation(
        "in the choreography a step does not wait for the stage before it",
        Edit(
            "workflows/choreography.py",
            "EVENTS[call.operation], after=before)",
            "EVENTS[call.operation], after=frozenset({Fact.ORDER_PLACED}))",
        ),
        f"{_CATALOGUE}::test_the_choreography_keeps_the_order_of_the_plan[required]",
    ),
    Mutation(
        "a service is not held to see none of its siblings",
        Edit("pyproject.toml", '"activities.shipping", "activities.notification"', '"activities.shipping"'),
        f"{_CATALOGUE}::test_nothing_is_left_to_do_for_a_service[notification]",
    ),
    Mutation(
        "the audit holds orders to a service that did not exist when they were placed",
        Edit(
            "audit/crossing.py",
            "        if service not in self.joined:\n            return False\n",
            "        return False\n",
        ),
        f"{_CROSSING}::test_an_order_from_before_a_service_joined_owes_it_nothing",
    ),
    Mutation(
        "the audit does not tell which service an incomplete order lacks",
        Edit(
            "audit/crossing.py",
            "self.by_service.get(service, {}).get(transaction_id, set()) for service in WHOLE}",
            "states.get(transaction_id, set()) for service, states in self.by_service.items()}",
        ),
        f"{_CROSSING}::test_an_incomplete_order_is_told_with_what_each_service_must_have_of_it_and_has",
    ),
    Mutation(
        "the audit does not see that less money was captured than the order cost",
        Edit("audit/contents.py", "paid != _money(total, currency):", "paid != paid:"),
        f"{_CONTENTS}[money]",
    ),
    Mutation(
        "the audit does not see that fewer goods were committed than were ordered",
        Edit("audit/contents.py", "goods is not None and got != goods:", "goods is not None and got != got:"),
        f"{_CONTENTS}[goods]",
    ),
)

_NEW_SERVICE = (
    Mutation(
        "the choreography does not know the events that a contract names",
        Edit(
            "contracts/choreography.py",
            "for facts in FACTS.values() for step, names in facts.steps.items()}",
            "for facts in () for step, names in facts.steps.items()}",
        ),
        f"{_OWN_STEP}::test_orders_with_the_step_end_as_they_should_and_the_audit_is_clean",
    ),
    Mutation(
        "a new service limits the receivers of an event, so that builds with and without it refuse each other's",
        Edit("contracts/choreography.py", "max_length=MAX_PARTICIPANTS)", "max_length=len(PARTICIPANTS))"),
        f"{_OWN_STEP}::test_the_messages_of_the_service_break_no_running_build",
    ),
    Mutation(
        "the audit does not compare a service that is in the order process",
        Edit("audit/crossing.py", "if service.leaves is not None}", 'if service.leaves and name != "shipping"}'),
        f"{_CATALOGUE}::test_the_audit_knows_what_every_service_of_the_order_process_has_of_an_order",
    ),
    Mutation(
        "a skipped undo of a service that joined later explains nothing to the audit",
        Edit("audit/skips.py", "= _done_by_default() | {", "= {"),
        f"{_OWN_STEP}::test_the_service_passes_the_tests_that_are_generated_for_it",
    ),
    Mutation(
        "a service that was not added to the containers is not missed",
        Edit("tests/tools/left_to_do.py", 'not in _text("docker-compose.yml"):', "in ():"),
        f"{_OWN_STEP}::test_what_is_left_to_do_is_told_with_the_file_and_the_text_to_add",
    ),
    Mutation(
        "a new service may have the name of a module that is there",
        Edit("tests/tools/new_service.py", "if (ROOT / file).exists() and not", "if False and not"),
        f"{_OWN_STEP}::test_a_name_that_no_service_can_have_is_refused_and_nothing_is_written"
        "[fence-NAME: activities/fence.py exists already, and declares no service fence]",
    ),
    Mutation(
        "an operation that its service does not serve is not missed",
        Edit(
            f"{_TESTS}/gaps.py", "if operation.queue == service and operation not in handled | answered:", "if False:"
        ),
        f"{_LEFT_OUT}[the handler of the undo]",
        f"{_LEFT_OUT}[the answer to the query]",
    ),
    Mutation(
        "an operation without a sample skips its tests, and no test fails",
        Edit(
            f"{_TESTS}/test_fence.py",
            "    assert forward.name in SAMPLES, missing_sample(forward)",
            "    sample_of(forward)",
        ),
        f"{_LEFT_OUT}[the sample]",
        f"{_LEFT_OUT}[what the undo undoes]",
    ),
    Mutation(
        "a service is tested on tables that are not those of its records",
        Edit(f"{_TESTS}/databases.py", '    assert problems == [], "; ".join(problems)\n', ""),
        f"{_LEFT_OUT}[a table]",
        f"{_LEFT_OUT}[a column]",
    ),
    Mutation(
        "the alert of a new service is listed, and what its test needs is not",
        Edit("tests/tools/left_to_do.py", "    if sample not in unscraped:", "    if False:"),
        f"{_OWN_STEP}::test_the_alert_of_the_service_passes_its_test_with_the_lines_that_are_told",
    ),
    Mutation(
        "an operation that never says no must have a refusal in its sample",
        Edit(
            f"{_TESTS}/test_fence.py",
            "{name for name, sample in SAMPLES.items() if sample.refused is None}",
            "set[str]()",
        ),
        f"{_OWN_STEP}::test_the_service_passes_the_tests_that_are_generated_for_it",
    ),
)

MUTATIONS = (*_KEYS, *_ROWS, *_PROCESS, *_EVERY_SERVICE, *_NEW_SERVICE)
