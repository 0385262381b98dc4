"""Defects of `retire` and `erase`: what is removed too early, in part or for good, and what is left of a person."""

from .mutation import Edit, Mutation

_RETENTION, _FENCE, _ERASURE = "activities/retention.py", "activities/fence.py", "activities/erasure.py"
_CLIENT, _ERASER, _AUDIT = "client/retirement.py", "client/erasure.py", "audit/run.py"
_ROWS, _PEOPLE, _WHOLE = (
    "tests/services/test_retention.py",
    "tests/services/test_erasure.py",
    "tests/recovery/test_retirement.py",
)
_KILLED = f"{_WHOLE}::test_killed_anywhere_and_run_again_it_comes_to_the_same_end"

MUTATIONS = (
    Mutation(
        "the fence does not know that a transaction was retired: a late delivery takes effect again",
        Edit(_FENCE, "    if retired is not None:\n", "    if retired is not None and not uow:\n"),
        f"{_ROWS}::test_a_late_delivery_of_a_retired_transaction_is_refused_by_every_operation"
        "[sqlite-payment.authorize]",
        f"{_WHOLE}::test_of_a_retired_order_only_the_refusal_of_its_id_is_left",
    ),
    Mutation(
        "a part of a retired transaction is not refused",
        Edit(_FENCE, "    return whole_of(transaction_id), RETIRED\n", "    return transaction_id, RETIRED\n"),
        f"{_ROWS}::test_a_part_of_a_retired_transaction_is_refused_too[sqlite]",
    ),
    Mutation(
        "what holds stock or money is retired",
        Edit(
            _RETENTION,
            "        staying |= dict.fromkeys(connection.scalars(select(columns.transaction_id).where(holding)), ",
            "        staying | dict.fromkeys(connection.scalars(select(columns.transaction_id).where(holding)), ",
        ),
        f"{_ROWS}::test_what_holds_something_stays[sqlite-payment]",
    ),
    Mutation(
        "the age of a transaction is that of its first change, not of its last",
        Edit(_FENCE, 'verdict.digest, "", uow.now)', 'verdict.digest, "", found.at if found else uow.now)'),
        f"{_ROWS}::test_an_undo_that_changes_nothing_makes_a_transaction_young_again[sqlite]",
    ),
    Mutation(
        "a transaction of which one part is young is retired",
        Edit(
            _CLIENT,
            "for whole, parts in sorted(ids.items()) if whole not in young}",
            "for whole, parts in sorted(ids.items())}",
        ),
        f"{_WHOLE}::test_a_transaction_given_as_data_goes_with_all_of_its_parts",
    ),
    Mutation(
        "the second page of old transactions begins after the first old one of the first page",
        Edit(_RETENTION, "    next_ = page[-1].transaction_id if", "    next_ = page[0].transaction_id if"),
        f"{_ROWS}::test_every_old_transaction_is_on_one_page_and_no_young_one_is_on_any[sqlite]",
    ),
    Mutation(
        "rows go away without the sums that they explain",
        Edit(_RETENTION, "        service.carry(connection, leaving)\n", ""),
        f"{_ROWS}::test_of_a_retired_order_each_service_keeps_one_record_and_its_sums[sqlite-inventory]",
        f"{_ROWS}::test_of_a_retired_order_each_service_keeps_one_record_and_its_sums[sqlite-payment]",
    ),
    Mutation(
        "the sums of a later batch replace those of an earlier one",
        Edit(
            _RETENTION,
            "set_={amount.name: amount + insert.excluded[amount.name]}",
            "set_={amount.name: insert.excluded[amount.name]}",
        ),
        f"{_ROWS}::test_the_sums_of_several_batches_are_added_up[sqlite]",
    ),
    Mutation(
        "an order is retired whose workflow Temporal still has",
        Edit(_CLIENT, "        result.known_to_temporal += len(known)\n", "        known.clear()\n"),
        f"{_WHOLE}::test_what_temporal_still_knows_stays_and_goes_after_its_retention",
    ),
    Mutation(
        "an order is retired while Temporal has the batch or the participants that coordinate it",
        Edit(
            _CLIENT, "for name in workflows_of(each, coordinators.get(each)))", "for name in workflows_of(each, each))"
        ),
        f"{_WHOLE}::test_what_temporal_still_knows_stays_and_goes_after_its_retention",
    ),
    Mutation(
        "the order service removes its record first: goods and money of an order that nobody knows are left behind",
        Edit(
            _CLIENT,
            "(others, RetireStage.REMOVE), ([order.QUEUE], RetireStage.REMOVE))",
            "([order.QUEUE], RetireStage.REMOVE), (others, RetireStage.REMOVE))",
        ),
        _KILLED,
    ),
    Mutation(
        "the services do not refuse an order before they remove it",
        Edit(
            _CLIENT, "((list(RETIRE), RetireStage.REFUSE), (others,", "((list(RETIRE), RetireStage.EXAMINE), (others,"
        ),
        f"{_WHOLE}::test_a_placing_during_a_retirement_is_refused_before_it_does_anything",
    ),
    Mutation(
        "the audit takes what is being removed for a violation",
        Edit(_AUDIT, "crossing.violations(traces, running | ended)", "crossing.violations(traces, running)"),
        _KILLED,
    ),
    Mutation(
        "rows are removed while the audit has violations that they may explain",
        Edit("cli/retire.py", "    if found:\n        named", "    if found and not report:\n        named"),
        "tests/command_line/test_going_away.py::test_a_violation_that_the_old_rows_may_explain_keeps_them_all",
    ),
    Mutation(
        "the sweep begins a retired order again whose second placing was terminated",
        Edit(
            "client/records.py",
            "for known in (self.orders, self.unreadable, self.retired))",
            "for known in (self.orders, self.unreadable))",
        ),
        f"{_WHOLE}::test_a_second_placing_of_a_retired_order_that_was_terminated_needs_no_end",
    ),
    Mutation(
        "the fence takes a repeated request of an erased customer for another one",
        Edit(_FENCE, "digest_beside(_kept(found), request)", "digest(request)"),
        f"{_PEOPLE}::test_a_repeated_request_gets_its_first_reply_after_the_erasure[sqlite-shipping]",
    ),
    Mutation(
        "what acts on an erased operation is taken for another request",
        Edit(
            _FENCE,
            "earlier.digest in (asked.digest, digest_beside(earlier, request))",
            "earlier.digest == asked.digest",
        ),
        f"{_PEOPLE}::test_an_undo_or_a_second_operation_with_the_old_request_still_fits[sqlite-shipping]",
    ),
    Mutation(
        "every order is the same to the fence once its customer was erased",
        Edit("activities/order.py", "digest=erased_digest(request), version", 'digest="erased:", version'),
        f"{_PEOPLE}::test_another_order_under_the_erased_ones_id_is_still_refused[sqlite]",
    ),
    Mutation(
        "the digest of an erased request is still that of the personal data",
        Edit(
            _FENCE,
            "    return ERASED + digest(without_personal_data(request))\n",
            "    return ERASED + digest(request)\n",
        ),
        f"{_PEOPLE}::test_an_erased_digest_does_not_depend_on_personal_data[sqlite]",
    ),
    Mutation(
        "the addresses of sent messages are not erased",
        Edit(_ERASURE, "    for kind, columns in service.personal.items():\n", "    for kind, columns in ():\n"),
        f"{_PEOPLE}::test_no_personal_data_is_left[sqlite-notification]",
    ),
    Mutation(
        "the data of a customer is erased while an order of theirs is open",
        Edit(_ERASER, "        if still_open:\n", "        if still_open and not found:\n"),
        f"{_WHOLE}::test_an_open_order_keeps_its_customers_data_and_is_named",
    ),
)
