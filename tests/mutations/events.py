"""Defects of the events for the outside."""

from __future__ import annotations

from .mutation import Edit, Mutation

_RELAY, _TESTS = "runtime/relay.py", "tests/events/test_relay.py"
_OUTBOX = "tests/services/test_outbox.py"

EVENTS = (
    Mutation(
        "an event has another id each time it is sent",
        (Edit(_RELAY, '"id": f"{event.transaction_id}/{event.operation}"', '"id": f"{id(event)}/{id(object())}"'),),
        (f"{_TESTS}::test_an_event_is_a_cloud_event_with_a_stable_id",),
    ),
    Mutation(
        "the stream is not told the ids, and takes an event twice",
        (Edit(_RELAY, 'headers = {"Nats-Msg-Id": told["id"], ', "headers = {"),),
        (
            f"{_TESTS}::test_a_relay_that_dies_between_sending_and_removing_sends_again_and_the_stream_has_each_event_once",
        ),
    ),
    Mutation(
        "events are removed although they were not sent",
        (Edit(_RELAY, "sent = [each for ids, _ in answers for each in ids]", "sent = [row.id for row in waiting]"),),
        (f"{_TESTS}::test_an_event_that_the_stream_refuses_waits",),
    ),
    Mutation(
        "after an event that was not sent, the later ones of its transaction are",
        (Edit(_RELAY, "            return sent, error\n", "            continue\n"),),
        (f"{_TESTS}::test_an_event_that_is_not_acknowledged_keeps_back_the_later_ones_of_its_transaction",),
    ),
    Mutation(
        "an operation that changes nothing is told as an effect",
        (
            Edit(
                "activities/fence.py",
                "    if changed:\n        uow.note_effect",
                "    if True:\n        uow.note_effect",
            ),
        ),
        (f"{_OUTBOX}::test_a_refusal_and_an_undo_of_nothing_are_no_events",),
    ),
    Mutation(
        "the outbox is written although no events are wanted",
        (
            Edit(
                "activities/records.py", 'metadata.tables["outbox"] if publishes else None', 'metadata.tables["outbox"]'
            ),
        ),
        (f"{_OUTBOX}::test_without_events_the_outbox_stays_empty",),
    ),
)
