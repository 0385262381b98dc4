"""Defects of what ties an operation to the earlier one it acts on, of the version check, and of what services list."""

from .mutation import Edit, Mutation

_FENCE, _RECORDS, _SERVICE = "activities/fence.py", "activities/records.py", "activities/service.py"
_TESTS = "tests/services"
_SECOND = f"{_TESTS}/test_second_operations.py"
_TRANSACTIONS = "tests/transactions/test_second_operations.py"
_ANY_FIELD = f"{_SECOND}::test_a_second_operation_with_any_field_changed_is_refused_and_changes_no_row"
_DECIDED_ANEW = "test_a_row_written_meanwhile_is_decided_again_where_the_database_reports_no_conflict"

_ACTS_ON = (
    Mutation(
        "an operation that acts on an earlier one is believed, whatever it asks for",
        Edit(_FENCE, "if found is None and operation.acts_on is not None:", "if False:"),
        f"{_ANY_FIELD}[sqlite-payment.capture]",
        f"{_ANY_FIELD}[sqlite-inventory.commit]",
        f"{_ANY_FIELD}[sqlite-shipping.dispatch]",
        f"{_SECOND}::test_nothing_acts_on_what_was_undone[sqlite-payment.capture]",
        f"{_TRANSACTIONS}::test_a_capture_that_differs_from_its_authorization_rolls_the_transaction_back[slip0]",
        f"{_TRANSACTIONS}::test_a_mistake_at_the_desk_is_refused_and_the_right_input_is_still_accepted",
    ),
    Mutation(
        "requests of two types are not compared: an order is confirmed under the id of another",
        Edit(_FENCE, "is_same = is_part_of(json.loads(identity(request)), replied)", "is_same = True"),
        f"{_SECOND}::test_an_order_is_confirmed_under_its_own_id_only[sqlite]",
    ),
    Mutation(
        "a capture does not say what it acts on",
        Edit("contracts/payment.py", "queue=QUEUE, acts_on=authorize)", "queue=QUEUE)"),
        f"{_SECOND}::test_a_capture_for_another_customer_leaves_both_their_accounts_alone[sqlite]",
    ),
    Mutation(
        "the refusal of a slip is kept, and keeps the right request out",
        Edit(
            _FENCE,
            "    if isinstance(verdict, Refuse):\n",
            "    if isinstance(verdict, Refuse):\n"
            "        if operation.acts_on is not None:\n"
            "            key = (request.transaction_id, operation.step, RecordState.REFUSED, digest(request))\n"
            "            uow.put([operation_records(*key, verdict.text)])\n",
        ),
        f"{_SECOND}::test_a_refusal_for_another_request_is_not_kept_against_the_right_one[sqlite-payment.capture]",
    ),
    Mutation(
        "the fence's row of the operation acted on is not loaded",
        Edit(_SERVICE, "            if operation.acts_on is not None:\n", "            if False:\n"),
        f"{_TESTS}/test_fence.py::test_a_forward_that_finds_nothing_acts_once[sqlite-payment.capture]",
    ),
    Mutation(
        "a document whose steps disagree is begun",
        Edit(
            "contracts/transaction.py", "if getattr(second_request, name) != getattr(first_request, name):", "if False:"
        ),
        "tests/transactions/test_documents.py::"
        "test_a_step_that_differs_from_the_one_it_acts_on_is_refused_before_anything_starts"
        "[the capture of another customer's money]",
    ),
    Mutation(
        "the end of a lease is asked for without a field of the request that made it",
        Edit(
            "activities/inventory.py",
            "return ReserveStock(transaction_id=ids[0], order_id=ids[1],",
            "return ReserveStock(transaction_id=ids[0], order_id='o-1',",
        ),
        f"{_TESTS}/test_leases.py::test_what_is_listed_as_expired_is_the_request_that_made_it[sqlite-inventory]",
    ),
)

_DECISIONS = (
    Mutation(
        "a decision reads the clock",
        Edit("activities/payment.py", "lease_until=uow.now + LEASE", "lease_until=datetime.now(UTC) + LEASE"),
        Edit("activities/inventory.py", "until = uow.now + LEASE", "until = datetime.now(UTC) + LEASE"),
        f"{_TESTS}/test_purity.py::"
        "test_a_decision_follows_from_the_rows_and_the_request_alone[sqlite-payment.authorize]",
        f"{_TESTS}/test_purity.py::"
        "test_a_decision_follows_from_the_rows_and_the_request_alone[sqlite-inventory.reserve]",
    ),
    Mutation(
        "the version check is dropped where the database tells of no conflict: what another wrote is lost",
        Edit(_RECORDS, "        where=table.c.version == fresh.version - 1,\n", ""),
        f"{_TESTS}/test_concurrency.py::{_DECIDED_ANEW}",
        f"{_TESTS}/test_concurrency.py::"
        "test_of_two_requests_for_one_key_one_acts_where_the_database_reports_no_conflict",
    ),
    Mutation(
        "a row that was not written is taken for written: goods are reserved that the shelf does not know of",
        Edit(_RECORDS, "if _write(tx, kind, values) < len(rows):", "if _write(tx, kind, values) < 0:"),
        f"{_TESTS}/test_concurrency.py::{_DECIDED_ANEW}",
        f"{_TESTS}/test_records.py::test_a_row_that_another_has_written_meanwhile_is_not_written[sqlite]",
    ),
)

_LISTS = (
    Mutation(
        "one account that cannot be right keeps all others from being listed",
        Edit("contracts/payment.py", "    balance_minor: StrictInt\n", "    balance_minor: AmountMinor\n"),
        f"{_TESTS}/test_payment.py::test_one_account_that_cannot_be_right_is_listed_as_it_is_among_the_others[sqlite]",
    ),
    Mutation(
        "one sku that cannot be right keeps all others from being listed",
        Edit("contracts/inventory.py", "    sku: str\n", "    sku: Sku\n"),
        f"{_TESTS}/test_inventory.py::test_one_sku_that_cannot_be_right_is_listed_as_it_is_among_the_others[sqlite]",
    ),
)

MUTATIONS = (*_ACTS_ON, *_DECISIONS, *_LISTS)
