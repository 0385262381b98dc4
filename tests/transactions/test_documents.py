"""A transaction document that is wrong is refused with one line that names the step and the field."""

from typing import Any

import pytest
from pydantic import ValidationError

from contracts.catalogue import OPERATIONS
from contracts.message import as_written
from contracts.problems import first_problem
from contracts.transaction import MAX_STEPS, Transaction

LINES = [{"sku": "BOOK-1", "quantity": 2}]
RESERVE = {
    "name": "reserve",
    "commit": "inventory.reserve",
    "rollback": "inventory.release",
    "queue": "inventory",
    "input": {"order_id": "t-1", "lines": LINES},
    "timeout_s": 5,
}
OWN = {
    "name": "own",
    "commit": "bank.withdraw",
    "rollback": "bank.put_back",
    "queue": "bank",
    "input": {"account": "ann"},
}


def _document(*steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"transaction_id": "t-1", "steps": list(steps)} | fields


def _reserve(**changes: Any) -> dict[str, Any]:
    return _document(RESERVE | changes)


AUTHORIZE = {
    "name": "authorize",
    "commit": "payment.authorize",
    "rollback": "payment.cancel",
    "input": {"order_id": "t-1", "customer_id": "rich", "amount_minor": 10_000, "currency": "EUR"},
}
CAPTURE = AUTHORIZE | {"name": "capture", "commit": "payment.capture", "rollback": "payment.refund"}


def _capture(**changes: Any) -> dict[str, Any]:
    return CAPTURE | {"input": CAPTURE["input"] | changes}  # type: ignore[operator]  # the steps are of one type


WRONG = {
    "a misspelt operation": (_reserve(commit="inventory.reserv"), "step reserve: commit: ", "is it inventory.reserve?"),
    "a missing field of the input": (_reserve(input={"lines": LINES}), "step reserve: input.order_id: ", "required"),
    "the rollback of another operation": (
        _reserve(rollback="payment.cancel"),
        "step reserve: rollback: ",
        "does not undo",
    ),
    "no steps": (_document(), "steps: ", "at least 1"),
    "too many steps": (_document(*[OWN | {"name": f"s-{n}"} for n in range(MAX_STEPS + 1)]), "steps: ", "at most 10"),
    "no transaction id": ({"steps": [RESERVE]}, "transaction_id: ", "required"),
    "an id with a slash": (_document(RESERVE, transaction_id="a/b"), "transaction_id: ", "must be 1 to 64 letters"),
    "an id that passes for an order's": (_document(RESERVE, transaction_id="order"), "transaction_id: ", "reserved"),
    "the input of another transaction": (
        _reserve(input={"transaction_id": "t-2", "order_id": "t-1", "lines": LINES}),
        "step reserve: input.transaction_id: ",
        "must be t-1",
    ),
    "a wrong value in the input": (
        _reserve(input={"order_id": "t-1", "lines": [{"sku": "BOOK-1", "quantity": 0}]}),
        "step reserve: input.lines.0.quantity: ",
        "must be at least 1",
    ),
    "an unknown field of the input": (
        _reserve(input={"order_id": "t-1", "lines": LINES, "colour": "red"}),
        "step reserve: input.colour: ",
        "not permitted",
    ),
    "an unknown field of a step": (_reserve(retries=3), "steps.0.retries: ", "not permitted"),
    "no time at all": (_reserve(timeout_s=0), "steps.0.timeout_s: ", "0.1"),
    "a name twice": (_document(RESERVE, RESERVE), "step reserve: ", "taken"),
    "the same operation twice": (_document(RESERVE, RESERVE | {"name": "more"}), "step more: commit: ", "t-1/more"),
    "another queue": (_reserve(queue="payment"), "step reserve: queue: ", "served on inventory"),
    "a rollback as a commit": (_reserve(commit="inventory.release"), "step reserve: commit: ", "is a rollback"),
    "a step that cannot be taken back, too early": (
        _document(RESERVE | {"name": "first", "commit": "inventory.commit", "rollback": None}, RESERVE),
        "step first: rollback: ",
        "missing",
    ),
    "an own service without a queue": (_document(OWN | {"queue": None}), "step own: queue: ", "which queue serves it"),
    "an own service on a queue of ours": (_document(OWN | {"queue": "orders"}), "step own: commit: ", "no operation"),
    "an own commit that undoes itself": (
        _document(OWN | {"rollback": "bank.withdraw"}),
        "step own: rollback: ",
        "itself",
    ),
    "a rollback in another service": (
        _document(OWN | {"rollback": "inventory.release"}),
        "step own: rollback: ",
        "no operation of bank",
    ),
}


@pytest.mark.parametrize(("document", "field", "why"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_transaction_is_refused_with_the_step_and_the_field(
    document: dict[str, Any], field: str, why: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        as_written(Transaction, document)
    line = first_problem(refused.value)
    assert line.startswith(field)
    assert why.lower() in line.lower()
    assert "\n" not in line


def test_the_input_gets_the_transaction_id_of_the_document_unless_it_names_a_part_of_it() -> None:
    own = Transaction.model_validate(_document(RESERVE, OWN))
    assert own.steps[0].request("t-1")["transaction_id"] == "t-1"
    assert own.steps[1].request("t-1") == {"transaction_id": "t-1", "account": "ann"}
    named = RESERVE | {"name": "more", "input": RESERVE["input"] | {"transaction_id": "t-1/more"}}  # type: ignore[operator]
    part = Transaction.model_validate(_document(RESERVE, named))
    assert part.steps[1].request("t-1")["transaction_id"] == "t-1/more"


def test_a_worker_passes_on_a_field_that_only_a_later_service_knows() -> None:
    """The document was checked by a client of that later build, for which an unknown field is a typo."""
    document = _reserve(input=RESERVE["input"] | {"gift": True}, retries=3)  # type: ignore[operator]
    assert Transaction.model_validate(document).steps[0].request("t-1")["gift"] is True


DISAGREEING = {
    "the capture of another customer's money": (
        _document(AUTHORIZE, OWN, _capture(customer_id="poor")),
        "step capture: input.customer_id: ",
        "must be as in step authorize, which payment.capture acts on",
    ),
    "the commit of other lines, in a part of the transaction": (
        _document(
            RESERVE,
            RESERVE | {"name": "more", "input": {"transaction_id": "t-1/more", "order_id": "t-1", "lines": LINES}},
            {
                "name": "take",
                "commit": "inventory.commit",
                "input": {
                    "transaction_id": "t-1/more",
                    "order_id": "t-1",
                    "lines": [*LINES, {"sku": "PEN-1", "quantity": 1}],
                },
            },
        ),
        "step take: input.lines: ",
        "must be as in step more",
    ),
}


@pytest.mark.parametrize(("document", "field", "why"), DISAGREEING.values(), ids=DISAGREEING.keys())
def test_a_step_that_differs_from_the_one_it_acts_on_is_refused_before_anything_starts(
    document: dict[str, Any], field: str, why: str
) -> None:
    line = Transaction.model_validate(document).disagreement()
    assert line is not None
    assert line.startswith(field)
    assert why in line


def test_a_step_acts_on_an_earlier_one_of_its_own_part_of_the_transaction() -> None:
    """The same goods in another order are the same request; another part of the transaction may differ."""
    both = [*LINES, {"sku": "A-1", "quantity": 1}]
    reserve = RESERVE | {"input": {"order_id": "t-1", "lines": both}}
    more = RESERVE | {"name": "more", "input": {"transaction_id": "t-1/more", "order_id": "t-1", "lines": LINES}}
    take = {"name": "take", "commit": "inventory.commit", "input": {"order_id": "t-1", "lines": both[::-1]}}
    assert Transaction.model_validate(_document(reserve, more, AUTHORIZE, _capture(), take)).disagreement() is None


@pytest.mark.parametrize("name", [name for name, declared in OPERATIONS.items() if declared.undoes is None])
def test_every_operation_of_the_catalogue_can_be_a_step(name: str) -> None:
    """A step needs nothing but its input: one without it is refused for that alone, or not at all."""
    undo = next((other.name for other in OPERATIONS.values() if other.undoes is OPERATIONS[name]), None)
    step = {"name": "only", "commit": name, "rollback": undo}
    try:
        Transaction.model_validate(_document(step))
    except ValidationError as refused:
        assert first_problem(refused).startswith("step only: input.")
