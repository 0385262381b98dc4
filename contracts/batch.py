"""The input and the outcome of `BatchWorkflow`: a batch of orders, and how each of them ended."""

from collections.abc import Iterator
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from contracts.batch_operation import MAX_REQUESTS
from contracts.documents import parse_each, require_each_key_once
from contracts.ids import order_id_of, order_workflow_id
from contracts.message import Message
from contracts.order import Order
from contracts.problems import first_problem
from temporal_saga import Entry, Failure, State, TransactionLog

MAX_ORDERS = MAX_REQUESTS
MAX_BYTES = 1_000_000
"""Limit on a batch's JSON. Its largest request, the creation of all orders, is a tenth larger: half of Temporal's limit
for a payload."""

_ORDERS = TypeAdapter(list[Order])
_ANY = TypeAdapter(list[Any])


class InvalidBatch(ValueError):
    """The document is not a list of orders, or it is too long. No order of it is started."""


class OutcomeGroup(Message):
    """Orders of a batch with the same outcome: the same steps, in the same calls, and the same end.

    A state that is not an end says that the order was detached: a workflow of its own brings it to its end.
    """

    state: State
    code: str | None = None
    step: str | None = None
    steps: tuple[Entry, ...] = ()
    order_ids: tuple[str, ...]
    messages: tuple[str, ...] = ()
    """The messages of the error, in the order of `order_ids`; empty without an error."""

    @classmethod
    def of(cls, log: TransactionLog) -> Self:
        """The group of a single order."""
        error, order_id = log.error, order_id_of(log.transaction_id)
        if error is None:
            return cls(state=log.state, steps=log.steps, order_ids=(order_id,))
        code, step, messages = error.code, error.step, (error.message,)
        return cls(state=log.state, code=code, step=step, steps=log.steps, order_ids=(order_id,), messages=messages)

    def logs(self) -> Iterator[tuple[str, TransactionLog]]:
        for place, order_id in enumerate(self.order_ids):
            error = Failure(self.code, self.messages[place], self.step) if self.code is not None else None
            yield order_id, TransactionLog(order_workflow_id(order_id), self.state, error, self.steps)


class BatchOutcome(Message):
    """The outcome of each order of a batch. Orders of one group share their steps, which keeps it small."""

    groups: tuple[OutcomeGroup, ...]

    def logs(self) -> dict[str, TransactionLog]:
        """The log of each order, by order id."""
        return {order_id: log for group in self.groups for order_id, log in group.logs()}


def parse(document: bytes) -> tuple[list[Order], dict[str, str]]:
    """The valid orders of a batch, and the problems of the others by order id or place. Raises `InvalidBatch`."""
    if len(document) > MAX_BYTES:
        raise InvalidBatch(f"a batch has at most {MAX_BYTES} bytes")
    try:
        orders, invalid = parse_each(Order, document, _ORDERS.validate_json, _ANY.validate_json)
    except ValidationError as error:
        raise InvalidBatch(f"a batch is a list of orders: {first_problem(error)}") from None
    try:
        require_each_key_once(document)
    except ValueError as error:
        raise InvalidBatch(str(error)) from None
    if not 1 <= len(orders) + len(invalid) <= MAX_ORDERS:
        raise InvalidBatch(f"a batch has 1 to {MAX_ORDERS} orders")
    problems = {_name_of(one.document, place): one.problem for place, one in invalid.items()}
    return _without_duplicates(orders, problems), problems


def _name_of(document: Any, place: int) -> str:
    order_id = document.get("order_id") if isinstance(document, dict) else None
    return order_id[:64] if isinstance(order_id, str) else f"#{place}"


def _without_duplicates(orders: dict[int, Order], problems: dict[str, str]) -> list[Order]:
    """Each order once; another order under an id of this batch becomes one of the `problems`."""
    by_id: dict[str, Order] = {}
    for place, order in orders.items():
        if by_id.setdefault(order.order_id, order) != order:
            problems[f"#{place}"] = f"order {order.order_id} is twice in this batch, with different contents"
    return list(by_id.values())
