"""Defects of the fence of the package: its rules, its digest and its SQL."""

from .mutation import Edit, Mutation

_RULES, _SQL = "temporal_saga/fence/rules.py", "temporal_saga/fence/sql.py"
_ARRIVAL, _DIGEST = "temporal_saga/fence/arrival.py", "temporal_saga/fence/digest.py"
_TESTS = "tests/library"
_ORDER = f"{_TESTS}/test_fence_rules.py"
_ON_SQL, _AT_ONCE = f"{_TESTS}/test_fence_sql.py", f"{_TESTS}/test_fence_concurrency.py"
_SUFFIXES = ("[sqlite]", "[sqlite-sync]", "[postgresql]")

_BEGIN = "engine.begin() as connection:\n"
_COMMITS = """\
        try:
            yield connection
        except ApplicationError as error:
            if refusal_code(error) is None:
                raise
            refused = error
"""
_FAILS = "        yield connection\n"


def _everywhere(test: str) -> tuple[str, ...]:
    return tuple(f"{_ON_SQL}::{test}{suffix}" for suffix in _SUFFIXES)


_OF_RULES = (
    Mutation(
        "a forward passes the tombstone of its undo",
        Edit(_RULES, "if found.state in (OperationState.UNDONE, OperationState.TOMBSTONE):", "if False:"),
        f"{_ORDER}::test_in_any_order_a_step_acts_once_and_never_after_its_undo",
        f"{_ORDER}::test_a_request_gets_the_verdict_of_its_row[forward-TOMBSTONE-same]",
        f"{_ON_SQL}::test_an_undo_of_nothing_does_not_act_and_its_tombstone_keeps_the_late_forward_out[sqlite]",
    ),
    Mutation(
        "an undo of nothing acts",
        Edit(_RULES, "return Tombstone(asked.digest)", "return Act(OperationState.UNDONE, asked.digest)"),
        f"{_ORDER}::test_in_any_order_a_step_acts_once_and_never_after_its_undo",
    ),
    Mutation(
        "an undo is not compared with what it undoes",
        Edit(_RULES, "found.digest) if found.digest == asked.digest else _conflict(asked)", "found.digest)"),
        f"{_ORDER}::test_in_any_order_a_step_acts_once_and_never_after_its_undo",
        f"{_ON_SQL}::test_a_key_with_another_request_is_a_conflict[sqlite]",
    ),
    Mutation(
        "the tombstone of a refusal has the digest of its undo: a late forward is told of a conflict",
        Edit(_RULES, "return Tombstone(found.digest)", "return Tombstone(asked.digest)"),
        f"{_ORDER}::test_a_request_gets_the_verdict_of_its_row[undo-REFUSED-other]",
    ),
    Mutation(
        "an operation may act on what was undone",
        Edit(_RULES, "if found is None or found.state is not OperationState.DONE:", "if found is None:"),
        f"{_ORDER}::test_an_operation_acts_only_on_what_is_done_and_asks_for_the_same[same-UNDONE]",
    ),
    Mutation(
        "that there is nothing to act on is kept, though the earlier operation may still arrive",
        Edit(_RULES, "code not in (NOTHING_TO_ACT_ON, IDEMPOTENCY_CONFLICT)", "code != IDEMPOTENCY_CONFLICT"),
        f"{_ORDER}::test_the_refusals_that_the_right_request_would_meet_are_not_kept",
    ),
    Mutation(
        "the digest depends on the order of keys",
        Edit(_DIGEST, "sort_keys=True, ", ""),
        f"{_TESTS}/test_fence_digest.py::test_the_order_of_keys_does_not_count",
    ),
    Mutation(
        "a field that was added with a default makes another request of an older one",
        Edit(_DIGEST, "if not (without_defaults and _is_default(field, each))", ""),
        f"{_TESTS}/test_fence_digest.py::test_a_field_at_its_default_is_as_good_as_no_field",
    ),
)

_OF_SQL = (
    Mutation(
        "a block without a reply that does not ask acts again at each duplicate",
        Edit("temporal_saga/fence/sql.py", "        if not once.was_asked:", "        if False:"),
        *_everywhere("test_a_block_that_does_not_ask_whether_it_acts_fails_at_the_first_duplicate_and_changes_nothing"),
    ),
    Mutation(
        "a refusal does not roll back what its block wrote",
        Edit(_SQL, "            with tx.begin_nested():\n", "            if True:\n"),
        *_everywhere("test_a_refusal_rolls_back_what_its_block_wrote_and_is_kept_after_its_reason_is_gone"),
    ),
    Mutation(
        "a refusal rolls back the transaction, and its record with it",
        Edit(_SQL, f"    with {_BEGIN}{_COMMITS}", f"    with {_BEGIN}{_FAILS}"),
        Edit(_SQL, f"    async with {_BEGIN}{_COMMITS}", f"    async with {_BEGIN}{_FAILS}"),
        *_everywhere("test_a_refusal_rolls_back_what_its_block_wrote_and_is_kept_after_its_reason_is_gone"),
    ),
    Mutation(
        "a block that fails leaves its record in a transaction that goes on",
        Edit(_SQL, "        else:\n            self._delete(tx, arrival)\n", ""),
        *(
            f"{_ON_SQL}::test_a_block_that_fails_leaves_nothing_in_a_transaction_that_goes_on[{kind}-{why}]"
            for kind in ("sqlite", "postgresql")
            for why in ("error", "not-kept")
        ),
    ),
    Mutation(
        "a request is not told that it must not write again",
        Edit(_SQL, "        if not self._acts:\n", "        if False:\n"),
        f"{_ON_SQL}::test_a_block_that_does_not_ask_whether_it_acts_fails_at_the_first_duplicate_and_changes_nothing[sqlite]",
    ),
    Mutation(
        "a block that ends the transaction of its fence is not told",
        Edit(_SQL, "        if not whole.is_active:\n", "        if False:\n"),
        f"{_ON_SQL}::test_a_block_that_ends_the_transaction_is_told_and_never_acts_again[sqlite]",
    ),
    Mutation(
        "the record of an earlier operation is not locked: an undo passes what acts on it",
        Edit(_SQL, "tx.execute(kept.with_for_update())", "tx.execute(kept)"),
        f"{_AT_ONCE}::test_a_second_undo_waits_for_the_first_and_repeats_its_reply[postgresql]",
        f"{_AT_ONCE}::test_an_undo_waits_for_what_acts_on_its_forward[postgresql]",
    ),
    Mutation(
        "records are forgotten by the time of their first write",
        Edit(_SQL, ".values(_values(kept))", '.values(_values(kept) | {"written_at": self.table.c.written_at})'),
        f"{_ON_SQL}::test_records_are_forgotten_in_batches_by_the_time_of_their_last_write[sqlite]",
    ),
    Mutation(
        "all old records are forgotten in one statement",
        Edit(_SQL, "oldest.limit(FORGOTTEN_AT_ONCE).", "oldest."),
        f"{_ON_SQL}::test_records_are_forgotten_in_batches_by_the_time_of_their_last_write[sqlite]",
    ),
    Mutation(
        "a reply that cannot be read again is kept",
        Edit(_ARRIVAL, "        text = as_json(reply)\n", "        text = as_json(reply)\n        return text\n"),
        f"{_ON_SQL}::test_a_reply_that_could_not_be_repeated_fails_at_the_first_call[sqlite-reply-missing]",
    ),
    Mutation(
        "MySQL takes two keys that differ in case for one",
        Edit(_SQL, 'String(LONGEST).with_variant(exact, "mysql", "mariadb")', "String(LONGEST)"),
        f"{_ON_SQL}::test_mysql_gets_an_insert_that_passes_over_a_duplicate_and_keys_that_it_compares_exactly",
    ),
)

MUTATIONS = (*_OF_RULES, *_OF_SQL)
