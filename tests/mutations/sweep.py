"""Defects of the sweep and its leases, and of what repairs transactions."""

from .mutation import Edit, Mutation

_ORDERS, _LEASES = "recovery/orders.py", "recovery/leases.py"
_TRANSACTIONS, _TOLERANCE = "client/transactions.py", "recovery/tolerance.py"
_ON_ORDERS, _ON_FAILURES = "tests/recovery/test_orders.py", "tests/recovery/test_tolerance.py"
_ON_OTHERS = "tests/recovery/test_transactions.py"
_REDONE = f"{_ON_OTHERS}::test_a_confirmed_transaction_that_a_service_has_forgotten_or_undone_is_named_and_redone"
_DETACHED = f"{_ON_ORDERS}::test_an_order_that_its_batch_has_detached_is_found_when_its_own_workflow_was_deleted"

_COORDINATORS = (
    Mutation(
        "an order that is in two histories and on no record is swept twice",
        Edit(
            "recovery/orders.py",
            "*(histories[each] for each in histories if each not in records)]",
            "*(each for each in [*batched.values(), *unrecorded] if each.order.transaction_id not in records)]",
        ),
        "tests/recovery/test_orders.py::"
        "test_an_order_that_is_not_on_record_is_swept_once_though_its_batch_was_terminated_too",
    ),
    Mutation(
        "a sweep whose worker was killed keeps the next ones waiting for ten minutes",
        Edit("workflows/sweep.py", "            heartbeat_timeout=recovery.HEARTBEAT_TIMEOUT,\n", ""),
        "tests/recovery/test_orders.py::test_a_sweep_whose_worker_dies_is_begun_anew_within_a_minute",
    ),
    Mutation(
        "a long sweep is begun anew beside itself, as it does not say that it goes on",
        Edit("recovery/sweep.py", "            activity.heartbeat()\n", ""),
        "tests/recovery/test_orders.py::test_a_sweep_whose_worker_dies_is_begun_anew_within_a_minute",
    ),
    Mutation(
        "the sweep begins a closed workflow as what it was started with, whoever coordinates the order on record",
        Edit(_ORDERS, "if each.transaction_id not in records]", "]"),
        Edit(_ORDERS, "(histories[each] for each in histories if each not in records)", "histories.values()"),
        f"{_ON_ORDERS}::test_a_confirmed_order_is_not_begun_because_a_second_placing_was_terminated",
    ),
    Mutation(
        "the sweep takes the newest workflow of an order's name for its coordinator",
        Edit(_ORDERS, "if newest in (None, Status.RUNNING) or await self._is_for(placed):", "if True:"),
        f"{_ON_ORDERS}::test_a_lost_order_is_found_behind_a_refused_one_of_another_content",
    ),
    Mutation(
        "the sweep overrules an operator's skip: a terminated batch coordinates also what it has handed over",
        Edit(_ORDERS, "if status is not None or coordinator == own:", "if coordinator == own:"),
        f"{_ON_ORDERS}::test_what_an_operator_has_skipped_stays_skipped_when_the_batch_is_terminated_afterwards",
    ),
    Mutation(
        "the sweep overrules an operator's skip when Temporal has forgotten the order",
        Edit(_ORDERS, "self.status is None and not self.placed.has_skips", "self.status is None"),
        f"{_ON_ORDERS}::test_what_an_operator_has_decided_is_known_when_temporal_has_forgotten_the_order",
    ),
    Mutation(
        "the sweep does not find an order that its batch has detached when its own workflow was deleted",
        Edit(_ORDERS, "status = None if placed.order.order_id in detached else status", "assert detached is not None"),
        f"{_DETACHED}[payment.capture*--end1]",
        f"{_DETACHED}[inventory.reserve.batch-order.confirm-end0]",
    ),
    Mutation(
        "an order that its batch has detached is told as the batch has left it",
        Edit("client/engines/batch.py", "            if log.state.is_end:\n", "            if log:\n"),
        f"{_DETACHED}[payment.capture*--end1]",
    ),
    Mutation(
        "the sweep leaves the orders of a terminated batch without an end once nothing is held for them",
        Edit(_ORDERS, "histories = batched | {", "histories = {"),
        f"{_ON_ORDERS}::test_the_orders_of_a_terminated_batch_get_their_ends_though_nothing_is_held_for_them",
    ),
    Mutation(
        "a refused second placing is told as the end of the order whose batch was terminated",
        Edit(
            "client/orders.py",
            "        if own is not None and not own.is_duplicate_of_other:\n            log =",
            "        if own is not None:\n            log =",
        ),
        f"{_ON_ORDERS}::test_an_order_of_a_terminated_batch_is_not_told_as_rolled_back_when_it_is_placed_again",
    ),
    Mutation(
        "an order that was placed again in another way is listed as rolled back",
        Edit("client/listing.py", "row = await _as_it_stands(orders, run, found)", "row = found"),
        f"{_ON_ORDERS}::test_an_order_that_was_placed_again_in_another_way_is_listed_as_it_stands",
    ),
    Mutation(
        "the sweep asks a service only for its first page",
        Edit(_ORDERS, "if len(page) < self._page:", "if True:"),
        f"{_ON_ORDERS}::test_orders_are_found_beyond_the_first_page_of_a_service",
    ),
    Mutation(
        "the sweep does not look a second time: an order that ended while it looked is begun again",
        Edit(_ORDERS, "        still_open = await self._open()\n        again =", "        again ="),
        f"{_ON_ORDERS}::test_an_order_that_ends_while_the_sweep_looks_is_not_begun_again",
    ),
    Mutation(
        "an order that was placed before has its whole deadline once more",
        Edit(
            "workflows/order.py",
            "whole, since = timedelta(seconds=self._order.deadline_s), self._options.placed_at",
            "whole, since = timedelta(seconds=self._order.deadline_s), None",
        ),
        f"{_ON_ORDERS}::test_an_order_that_was_placed_before_has_only_the_rest_of_its_deadline",
    ),
    Mutation(
        "a batch hands an order over with a new deadline",
        Edit(
            "workflows/batch.py",
            "OrderOptions(coordinator=self._id, placed_at=self._started)",
            "OrderOptions(coordinator=self._id)",
        ),
        f"{_DETACHED}[inventory.reserve.batch-order.confirm-end0]",
    ),
)

_TOLERANT = (
    Mutation(
        "a workflow whose history cannot be read ends the sweep",
        Edit(_TOLERANCE, "except Exception as error:", "except ZeroDivisionError as error:"),
        f"{_ON_FAILURES}::test_an_order_whose_history_cannot_be_read_is_named_and_the_others_are_rolled_back",
        f"{_ON_OTHERS}::test_what_a_transaction_holds_that_cannot_be_read_is_not_given_back",
    ),
    Mutation(
        "a service that does not answer ends the sweep",
        Edit(_TOLERANCE, "            self.note(subject, error.code, error.message)", "            raise"),
        f"{_ON_FAILURES}::test_a_service_that_does_not_answer_is_named_and_the_others_are_asked",
        f"{_ON_FAILURES}::test_leases_end_beyond_the_first_page_and_beside_one_that_cannot_be_read_or_undone",
    ),
    Mutation(
        "a row that this version refuses ends the answer for all",
        Edit(
            "activities/definition.py",
            "            unreadable.append(Unreadable(transaction_id=transaction_of(row), "
            "problem=first_problem(error)))",
            "            raise AssertionError from error",
        ),
        f"{_ON_FAILURES}::test_a_document_on_record_that_is_refused_now_is_named_and_the_others_are_rolled_back",
        f"{_ON_FAILURES}::test_leases_end_beyond_the_first_page_and_beside_one_that_cannot_be_read_or_undone",
    ),
    Mutation(
        "an order that was placed under another key ends the placing of many",
        Edit(
            "client/bulk.py",
            "_NO_ANSWER = (OperationFailed, RPCError, SettingsError)",
            "_NO_ANSWER = (OperationFailed, RPCError)",
        ),
        f"{_ON_FAILURES}::test_bulk_places_the_others_beside_an_order_that_was_placed_under_another_key",
    ),
)

_HOLDS = (
    Mutation(
        "the leases are asked for only their first page",
        Edit(_LEASES, "if len(listed) < self._page:", "if True:"),
        f"{_ON_FAILURES}::test_leases_end_beyond_the_first_page_and_beside_one_that_cannot_be_read_or_undone",
    ),
    Mutation(
        "a lease gives back what a terminated workflow may have decided to keep",
        Edit(
            _LEASES,
            "if await handles.status_of(self._client, name) is not None:",
            "if await handles.status_of(self._client, name) in (1, 2, 3):",
        ),
        f"{_ON_OTHERS}::test_what_a_workflow_of_ones_own_holds_is_not_given_back_while_temporal_knows_it",
        f"{_ON_OTHERS}::test_what_a_transaction_holds_that_cannot_be_read_is_not_given_back",
    ),
    Mutation(
        "a lease gives back what the participants of an order hold, which the order service has forgotten",
        Edit(_LEASES, "in workflows_of(request.transaction_id, None):", "in [request.transaction_id]:"),
        f"{_ON_ORDERS}::test_what_a_choreographed_order_holds_is_not_given_back_while_its_participants_run",
    ),
    Mutation(
        "a transaction is resumed beside the others of its lane",
        Edit(_TRANSACTIONS, "    if parent.kind is Kind.LANE:", "    if parent.kind is Kind.BATCH:"),
        f"{_ON_OTHERS}::test_a_transaction_terminated_past_its_pivot_is_finished_and_its_goods_are_not_given_back",
        f"{_REDONE}[forgotten]",
    ),
    Mutation(
        "the audit does not name a confirmed transaction that a service has forgotten",
        Edit("audit/run.py", "confirmed - placed - running)", "set())"),
        f"{_REDONE}[forgotten]",
    ),
    Mutation(
        "the audit takes a step of a confirmed transaction that is undone at its service for done",
        Edit("audit/generic.py", ", columns.state == RecordState.DONE", ""),
        f"{_REDONE}[undone]",
    ),
    Mutation(
        "the audit misses a step of a transaction that an operator has skipped",
        Edit("audit/generic.py", "            if missing:\n", "            if missing is False:\n"),
        f"{_ON_OTHERS}::test_a_skipped_step_of_a_confirmed_transaction_is_not_missed_and_its_other_steps_are",
    ),
    Mutation(
        "the audit holds a transaction to an earlier run that was confirmed",
        Edit(
            "audit/generic.py",
            "            if await handles.status_of(client, workflow_id) is WorkflowExecutionStatus.COMPLETED:",
            "            if workflow_id:",
        ),
        f"{_REDONE}[undone]",
    ),
    Mutation(
        "a confirmed transaction whose document cannot be read ends the audit",
        Edit("audit/generic.py", "    except Exception:", "    except ZeroDivisionError:"),
        f"{_ON_OTHERS}::test_a_confirmed_transaction_whose_document_cannot_be_read_is_named_and_the_others_are_looked_at",
    ),
    Mutation(
        "redo does not know transactions",
        Edit(
            "client/orders.py",
            "                return await Transactions(self.client).redo(now.coordinator.workflow_id)",
            "                pass",
        ),
        f"{_REDONE}[forgotten]",
        f"{_ON_OTHERS}::test_a_transaction_that_was_rolled_back_and_holds_something_again_is_named_and_redone",
    ),
)

MUTATIONS = (*_COORDINATORS, *_TOLERANT, *_HOLDS)
