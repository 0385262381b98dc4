"""Defects of what is seen of workflows from outside: paused, closed, silent, listed."""

from .mutation import Edit, Mutation

_HANDLES, _SILENCE, _STANDING = "client/handles.py", "client/silence.py", "client/standing.py"
_TESTS = "tests/end_to_end/test_from_outside.py"
_OUTAGE = "tests/command_line/test_outage.py::test_an_order_that_an_outage_kept_from_its_start_is_not_told_as_running"
_PAUSED = f"{_TESTS}::test_a_paused_order_is_open_and_every_command_tells_it_as_paused"
_CLOSED = f"{_TESTS}::test_a_terminated_order_is_listed_once_as_closed_from_outside_until_it_has_a_new_run"
_DELETED = (
    "tests/recovery/test_orders.py::test_a_deleted_workflow_is_told_on_the_desk_as_closed_and_in_the_list_as_on_record"
)

MUTATIONS = (
    Mutation(
        "`bulk` tells orders as running that an outage kept from their start",
        Edit("client/bulk.py", "not isinstance(error, _NO_ANSWER)", "True"),
        f"{_OUTAGE}[saga]",
        f"{_OUTAGE}[choreography]",
        f"{_OUTAGE}[batch]",
    ),
    Mutation(
        "a status that the SDK does not know is taken for closed",
        Edit(
            _HANDLES,
            "_CLOSED.get(number, WorkflowExecutionStatus.RUNNING)",
            "_CLOSED.get(number, WorkflowExecutionStatus.RUNNING if number == 1 else CLOSED_FROM_OUTSIDE[0])",
        ),
        "tests/client/test_handles.py::test_a_status_is_closed_only_if_it_is_known_to_be[8]",
        _PAUSED,
    ),
    Mutation(
        "whoever asks for what is open is not told of what is paused",
        Edit(_HANDLES, 'OPEN = "CloseTime IS NULL"', "OPEN = \"ExecutionStatus = 'Running'\""),
        _PAUSED,
    ),
    Mutation(
        "waiting for the end of a paused workflow ends in an error",
        Edit(_HANDLES, "            if str(error) != _NOT_CLOSED:\n                raise\n", "            raise\n"),
        _PAUSED,
    ),
    Mutation(
        "a paused call is not told: the order looks as if it went on",
        Edit(_STANDING, "    if not calls:\n        return log\n", "    if log:\n        return log\n"),
        f"{_TESTS}::test_a_paused_activity_is_told_with_its_step_and_how_it_goes_on",
    ),
    Mutation(
        "a client that waits for a saga queries its worker again and again",
        Edit(_STANDING, "            if loop.time() < overdue and", "            if False and"),
        "tests/client/test_handles.py::test_a_client_that_waits_asks_no_worker_while_the_saga_goes_on",
    ),
    Mutation(
        "an order that has ended in a batch that goes on is told as under way",
        Edit("client/engines/engine.py", "return self.closed or (", "return self.closed and ("),
        "tests/client/test_decision.py::test_an_order_that_has_ended_in_a_batch_that_goes_on_is_not_told_as_under_way",
    ),
    Mutation(
        "a parked saga whose answer cannot be read hides the others",
        Edit(_HANDLES, "RPCError, SettingsError, ValueError)", "RPCError)"),
        "tests/recovery/test_tolerance.py::"
        "test_a_parked_saga_whose_answer_cannot_be_read_is_named_and_counted_beside_the_others",
    ),
    Mutation(
        "an outage while a client waits for a decision ends it with an error that nobody knows",
        Edit("client/updates.py", "        raise (error.__cause__ or error) from None", "        raise"),
        "tests/client/test_updates.py::test_a_decision_whose_call_times_out_is_asked_for_again",
        "tests/client/test_updates.py::test_a_wait_for_a_decision_that_is_cancelled_stays_so",
    ),
    Mutation(
        "a choreographed order with a parked participant is taken for one that goes on while another calls",
        Edit("client/engines/choreography.py", " and not any(each.is_stuck for each in known)", ""),
        "tests/client/test_handles.py::"
        "test_a_choreographed_order_goes_on_while_one_of_its_participants_does_and_none_is_parked[one is parked]",
    ),
    Mutation(
        "a parked saga is taken for one that goes on while its service is tried again",
        Edit(_HANDLES, " or self.attributes.get(SAGA_STATE) == State.PARKED\n", "\n"),
        "tests/client/test_handles.py::"
        "test_a_saga_goes_on_while_something_is_pending_and_nothing_is_parked_or_paused[parked]",
    ),
    Mutation(
        "an order whose workflow was terminated is listed in the state that it had",
        Edit(_STANDING, "    if run.is_closed_from_outside:\n        return Closed.CLOSED_FROM_OUTSIDE\n", ""),
        _CLOSED,
    ),
    Mutation(
        "a list shows an order as closed from outside although a later run, now deleted, has ended it",
        Edit(
            "client/listing.py",
            "    if tells and row.state is Closed.CLOSED_FROM_OUTSIDE:",
            "    if tells and row.state is None:",
        ),
        _DELETED,
    ),
    Mutation(
        "the desk tells an order on record whose workflow was deleted as unknown",
        Edit(
            "client/desk.py",
            "            return participant\n        raise await self._nothing_parked(known_as)",
            "            return participant\n        raise ZeroDivisionError",
        ),
        _DELETED,
    ),
    Mutation(
        "the desk does not say that an order's workflow was closed from outside",
        Edit("client/desk.py", "in (Code.CLOSED_FROM_OUTSIDE, Code.FORGOTTEN):", "in (Code.FORGOTTEN,):"),
        _CLOSED,
        _DELETED,
    ),
    Mutation(
        "a list by state shows runs that a newer one has followed",
        Edit(_HANDLES, "return found is None or found.run_id == run.run_id", "return True"),
        _CLOSED,
    ),
    Mutation(
        "cancelling an order that was rolled back before is said to be accepted",
        Edit("client/orders.py", "    if not asked and log.error.code != Code.CANCELLED:", "    if False:"),
        f"{_TESTS}::test_cancelling_what_was_rolled_back_before_is_refused_and_names_its_end",
    ),
    Mutation(
        "a failing workflow task is told as a worker that is busy",
        Edit(_SILENCE, "    if found.task_attempt <= 1:\n", "    if found.task_attempt <= 10**6:\n"),
        f"{_TESTS}::test_a_workflow_task_that_fails_is_told_with_its_failure",
        f"{_TESTS}::test_a_payload_key_that_differs_is_named_as_the_cause",
    ),
    Mutation(
        "a participant reacts to events of another order",
        Edit(
            "workflows/event_log.py",
            '            workflow.logger.warning("event of another order under this id", extra=fields)\n'
            "            return\n",
            '            workflow.logger.warning("event of another order under this id", extra=fields)\n',
        ),
        "tests/choreography/test_delivery.py::test_events_of_another_order_under_the_same_id_are_ignored",
    ),
    Mutation(
        "a test that waits gives up in silence",
        Edit(
            "tests/eventually.py",
            "            raise _in_vain(what, timeout_s, answer)\n        time.sleep(_PAUSE_S)",
            "            return answer\n        time.sleep(_PAUSE_S)",
        ),
        "tests/test_eventually.py::test_a_wait_in_vain_fails_and_says_what_was_waited_for_and_seen_last",
    ),
)
