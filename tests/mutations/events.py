"""Defects of the events for the outside."""

from .mutation import Edit, Mutation

_RELAY, _TESTS = "runtime/relay.py", "tests/events/test_relay.py"
_OUTBOX = "tests/services/test_outbox.py"
_ANNOUNCER, _ANNOUNCED = "temporal_saga/announcer.py", "tests/kernel/test_announcements.py"
_ALERTS = "tests/end_to_end/test_alerts.py"
_MODES = "tests/events/test_whole.py"

MUTATIONS = (
    Mutation(
        "a SQLite outbox gives a later event the number of one that another relay has removed",
        Edit("activities/migrations/shared_tables.py", "        sqlite_autoincrement=True,\n", ""),
        f"{_OUTBOX}::test_a_relay_that_removes_what_another_has_removed_takes_no_later_event[sqlite]",
    ),
    Mutation(
        "an error without words ends the relay of its service",
        Edit(
            "temporal_saga/outcome.py",
            "next(iter(str(error).splitlines()), type(error).__name__)",
            "str(error).splitlines()[0]",
        ),
        Edit(
            _RELAY,
            "            except Exception:  # noqa: BLE001",
            "            except ZeroDivisionError:  # noqa: BLE001",
        ),
        "tests/kernel/test_outcome.py::test_what_an_error_says_is_one_line_also_if_it_says_nothing[nothing]",
        f"{_TESTS}::test_no_error_of_an_outbox_ends_its_relay[without words]",
        f"{_TESTS}::test_no_error_of_an_outbox_ends_its_relay[unforeseen]",
    ),
    Mutation(
        "a worker waits until a vanished NATS has taken the rest",
        Edit(_RELAY, "await asyncio.wait_for(client.close(), _CLOSED_WITHIN_S)", "await client.close()"),
        f"{_TESTS}::test_a_connection_that_cannot_be_closed_holds_up_no_worker_that_ends",
    ),
    Mutation(
        "each attempt to connect to a silent NATS leaves a connection open",
        Edit(_RELAY, "        await _close(client)  # it leaves its connection open\n", ""),
        f"{_TESTS}::test_a_server_that_says_nothing_is_left_without_an_open_connection",
    ),
    Mutation(
        "an event has another id each time it is sent",
        Edit(_RELAY, '"id": f"{event.transaction_id}/{event.operation}"', '"id": f"{id(event)}/{id(object())}"'),
        f"{_TESTS}::test_an_event_is_a_cloud_event_with_a_stable_id",
    ),
    Mutation(
        "the stream is not told the ids, and takes an event twice",
        Edit(_RELAY, 'headers = {"Nats-Msg-Id": told["id"], ', "headers = {"),
        f"{_TESTS}::test_a_relay_that_dies_between_sending_and_removing_sends_again_and_the_stream_has_each_event_once",
    ),
    Mutation(
        "events are removed although they were not sent",
        Edit(_RELAY, "sent = [each for ids, _ in answers for each in ids]", "sent = [row.id for row in waiting]"),
        f"{_TESTS}::test_an_event_that_the_stream_refuses_waits",
    ),
    Mutation(
        "after an event that was not sent, the later ones of its transaction are",
        Edit(_RELAY, "            return sent, error\n", "            continue\n"),
        f"{_TESTS}::test_an_event_that_is_not_acknowledged_keeps_back_the_later_ones_of_its_transaction",
    ),
    Mutation(
        "an operation that changes nothing is told as an effect",
        Edit(
            "activities/fence.py", "    if changed:\n        uow.note_effect", "    if True:\n        uow.note_effect"
        ),
        f"{_OUTBOX}::test_a_refusal_and_an_undo_of_nothing_are_no_events",
    ),
    Mutation(
        "the outbox is written although no events are wanted",
        Edit("activities/records.py", 'metadata.tables["outbox"] if publishes else None', 'metadata.tables["outbox"]'),
        f"{_OUTBOX}::test_without_events_the_outbox_stays_empty",
    ),
    Mutation(
        "a workflow ends before its announcements are made",
        Edit(
            "temporal_saga/kernel.py", "            await run_to_completion(self._announcer.done())", "            pass"
        ),
        f"{_ANNOUNCED}::test_announcements_that_fail_hold_up_no_undo_and_are_made_in_order_when_they_can_be",
    ),
    Mutation(
        "an announcement that fails is dropped",
        Edit(_ANNOUNCER, "if isinstance(ended, Done):", "if ended:"),
        f"{_ANNOUNCED}::test_announcements_that_fail_hold_up_no_undo_and_are_made_in_order_when_they_can_be",
    ),
    Mutation(
        "an announcement of the next run has the id of the first run's",
        Edit(_ANNOUNCER, 'f"{workflow.info().run_id}-{self._number}"', 'f"{self._number}"'),
        f"{_ANNOUNCED}::test_a_saga_that_is_parked_announces_it_with_the_step_and_later_that_it_goes_on_and_ends",
    ),
    Mutation(
        "each participant announces the end of the order",
        Edit("temporal_saga/journal.py", "and (State.PARKED in (before, state) or not self.is_part)", ""),
        f"{_MODES}::test_every_mode_tells_once_that_an_order_is_parked_goes_on_and_has_ended",
    ),
    Mutation(
        "an order that leaves its batch announces nothing",
        Edit("workflows/announcing.py", "return {ANNOUNCES: True} if announced() else {}", "return {}"),
        f"{_MODES}::test_every_mode_tells_once_that_an_order_is_parked_goes_on_and_has_ended",
    ),
    Mutation(
        "each participant of a choreographed order counts its end",
        Edit("temporal_saga/journal.py", "if state is State.PARKED or not self.is_part:", "if state:"),
        f"{_ALERTS}::test_a_choreographed_order_is_counted_once_in_each_state",
    ),
    Mutation(
        "an undo that leaves a tombstone counts as one that acted",
        Edit("activities/fence.py", "TOMBSTONE if left.state is RecordState.TOMBSTONE else ACTED)", "ACTED)"),
        "tests/services/test_answers.py::test_each_answer_of_the_fence_is_counted_by_operation_answer_and_code",
    ),
)
