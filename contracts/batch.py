"""What a batch of orders takes and gives: the input and the outcome of `BatchWorkflow`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from contracts.batch_operation import MAX_REQUESTS
from contracts.documents import require_each_key_once
from contracts.ids import order_id_of, order_workflow_id
from contracts.message import Message
from contracts.order import Order
from contracts.problems import first_problem
from saga import Entry, Failure, State, TransactionLog

MAX_ORDERS = MAX_REQUESTS
MAX_BYTES = 1_000_000
"""Of a batch as JSON. Its largest list, the creation, has a tenth more: half of Temporal's payload limit."""

_ORDERS = TypeAdapter(list[Order])
_ANY = TypeAdapter(list[Any])


class InvalidBatch(ValueError):
    """It is no list of orders, or too long a one. No order of it is begun."""


class OutcomeGroup(Message):
    """Orders of a batch that went the same way: the same steps, together, to the same end.

    `messages` are those of the error, in the order of `order_ids`. A state that is no end says that the order was
    handed to a workflow of its own, which brings it there.
    """

    state: State
    code: str | None = None
    step: str | None = None
    steps: tuple[Entry, ...] = ()
    order_ids: tuple[str, ...]
    messages: tuple[str, ...] = ()

    @classmethod
    def of(cls, log: TransactionLog) -> Self:
        """The way of a single order."""
        error, order_id = log.error, order_id_of(log.transaction_id)
        if error is None:
            return cls(state=log.state, steps=log.steps, order_ids=(order_id,))
        code, step, said = error.code, error.step, (error.message,)
        return cls(state=log.state, code=code, step=step, steps=log.steps, order_ids=(order_id,), messages=said)

    def logs(self) -> Iterator[tuple[str, TransactionLog]]:
        for at, order_id in enumerate(self.order_ids):
            error = Failure(self.code, self.messages[at], self.step) if self.code is not None else None
            yield order_id, TransactionLog(order_workflow_id(order_id), self.state, error, self.steps)


class BatchOutcome(Message):
    """How each order of a batch ended, in bytes that hardly grow with the length of their logs."""

    groups: tuple[OutcomeGroup, ...]

    def logs(self) -> dict[str, TransactionLog]:
        """By order id."""
        return {order_id: log for way in self.groups for order_id, log in way.logs()}


def parse(document: bytes) -> tuple[list[Order], dict[str, str]]:
    """The valid orders of a batch, and what is wrong with the others, by order id or place. Raises `InvalidBatch`."""
    if len(document) > MAX_BYTES:
        raise InvalidBatch(f"a batch has at most {MAX_BYTES} bytes")
    try:
        orders, problems = _ORDERS.validate_json(document), dict[str, str]()
    except ValidationError:
        orders, problems = _one_by_one(document)
    try:
        require_each_key_once(document)
    except ValueError as error:
        raise InvalidBatch(str(error)) from None
    if not 1 <= len(orders) + len(problems) <= MAX_ORDERS:
        raise InvalidBatch(f"a batch has 1 to {MAX_ORDERS} orders")
    return _each_once(orders, problems), problems


def _one_by_one(document: bytes) -> tuple[list[Order], dict[str, str]]:
    try:
        ones = _ANY.validate_json(document)
    except ValidationError as error:
        raise InvalidBatch(f"a batch is a list of orders: {first_problem(error)}") from None
    orders: list[Order] = []
    problems: dict[str, str] = {}
    for at, one in enumerate(ones):
        try:
            orders.append(Order.model_validate(one))
        except ValidationError as error:
            order_id = one.get("order_id") if isinstance(one, dict) else None
            problems[order_id[:64] if isinstance(order_id, str) else f"#{at}"] = first_problem(error)
    return orders, problems


def _each_once(orders: list[Order], problems: dict[str, str]) -> list[Order]:
    """Without those that come twice; another order under an id of this batch is a problem."""
    by_id: dict[str, Order] = {}
    for at, order in enumerate(orders):
        if by_id.setdefault(order.order_id, order) != order:
            problems[f"#{at}"] = f"order {order.order_id} is twice in this batch, with different contents"
    return list(by_id.values())
