"""Defects of what holds between builds: messages, replies, guards, and the order of jobs."""

from .mutation import Edit, Mutation

_UNREADABLE = "tests/kernel/test_unreadable.py"
_VERSIONS = "tests/services/test_versions.py"
_ADDED_STEP = "tests/replay/test_added_step.py"

MUTATIONS = (
    Mutation(
        "the SDK reads the replies: one that it cannot read fails the workflow task for ever",
        Edit(
            "temporal_saga/calls.py",
            "            result_type=RawValue,\n            start_to_close_timeout",
            "            result_type=operation.reply,\n            start_to_close_timeout",
        ),
        Edit(
            "temporal_saga/calls.py",
            "        return outcome.classify(error, policy.attempts)\n    return read(operation, raw)",
            "        return outcome.classify(error, policy.attempts)\n    return Done(raw)",
        ),
        f"{_UNREADABLE}::test_a_best_effort_call_whose_reply_cannot_be_read_changes_nothing",
    ),
    Mutation(
        "the verdict that a reply cannot be read is not kept: a build that can read it decides otherwise on replay",
        Edit("temporal_saga/reply.py", "if workflow.unsafe.is_replaying() and workflow.patched(marker):", "if False:"),
        f"{_UNREADABLE}::test_a_build_that_can_read_the_reply_decides_as_the_one_that_could_not[car.hold-0]",
    ),
    Mutation(
        "readers refuse fields that they do not know",
        Edit("contracts/message.py", 'frozen=True, extra="ignore"', 'frozen=True, extra="forbid"'),
        f"{_VERSIONS}::test_a_kept_reply_is_read_by_the_other_build",
        f"{_VERSIONS}::test_a_batch_may_have_fields_that_its_service_does_not_know",
    ),
    Mutation(
        "what people write is read as the wire is: a typo passes",
        Edit("contracts/message.py", 'model.model_validate(document, extra="forbid"', "model.model_validate(document"),
        "tests/transactions/test_documents.py::"
        "test_a_wrong_transaction_is_refused_with_the_step_and_the_field[an unknown field of a step]",
    ),
    Mutation(
        "a field that was added later makes a repeated request another one",
        Edit(
            "contracts/message.py",
            "exclude_defaults=True, exclude=_not_identifying(type(message))",
            "exclude_defaults=True",
        ),
        f"{_VERSIONS}::test_a_request_that_comes_again_is_the_same_one_for_a_build_a_field_apart"
        "[fields0-later then later-payment.cancel]",
    ),
    Mutation(
        "a kept reply that cannot be read is a bug of the service, without a code",
        Edit(
            "activities/service.py",
            "            raise ApplicationError(str(error), type=Code.UNREADABLE_REPLY) from None\n",
            "            raise\n",
        ),
        f"{_VERSIONS}::test_a_kept_reply_that_cannot_be_read_is_reported_and_changes_nothing[False]",
    ),
    Mutation(
        "an order that a later build placed is another order for the builds before it",
        Edit(
            "contracts/message.py", "return one == other or (one is not None and", "return one == other or (False and"
        ),
        "tests/wire/test_messages.py::"
        "test_a_message_is_the_same_one_for_builds_a_field_apart_and_another_with_another_value",
    ),
    Mutation(
        "the orders of a batch follow the stages of the first of them",
        Edit(
            "workflows/batch.py",
            "groups.setdefault(member.stage_name(index), [])",
            "groups.setdefault(members[0].stage_name(index), [])",
        ),
        f"{_ADDED_STEP}::test_orders_of_every_mode_get_through_the_change",
    ),
    Mutation(
        "under the order of jobs of temporalio 1.36.0 a cancelled workflow stops its unwinding",
        Edit("temporal_saga/waiting.py", "if task is None or task.cancelling():", "if True:"),
        "tests/kernel/test_cancel.py::"
        "test_a_cancel_does_not_disturb_the_unwinding[car.release-by_temporal-in one batch]",
    ),
)
