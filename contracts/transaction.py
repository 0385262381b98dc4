"""The transaction as data: a list of steps, each with the operation that commits it and the one that rolls it back.

The document is checked as a whole before anything starts. A step names operations of the catalogue, whose inputs are
known, or activities of a user's own service, whose `queue` it must then say.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any, Self

from pydantic import Field, JsonValue, ValidationError, ValidationInfo, model_validator

from contracts.catalogue import OPERATIONS
from contracts.ids import transaction_workflow_id
from contracts.message import WRITTEN, Id, InWords, Message, as_written
from contracts.order import WORKFLOWS_QUEUE
from contracts.problems import first_problem
from saga import Operation

MAX_STEPS = 10
"""All may have their undo parked at once: ten times 380 rounds of 12 history events a year (`saga.policy.Rounds`) are
45,600, of the 51,200 where Temporal ends a workflow. Whoever needs more has several transactions."""
MAX_DOCUMENT_BYTES = 100_000
"""Ten steps of 10 kB. A lane keeps waiting documents in its history, which ends at 50 MB."""
_RESERVED = frozenset({"order", "transaction", "lane"})
"""`order/<id>` is the transaction of an order: a part of a transaction must not be able to pass for one."""
_SERVICE_QUEUES = frozenset(operation.queue for operation in OPERATIONS.values()) | {WORKFLOWS_QUEUE}

Activity = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.:-]*$", max_length=128),
    InWords("must be 1 to 128 letters (A to Z), digits, dots, colons, dashes or underscores, a letter first"),
]
"""The name of an operation of the catalogue, or of an activity of a user's own."""
Queue = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$", max_length=128),
    InWords("must be 1 to 128 letters (A to Z), digits, dots, colons, slashes, dashes or underscores"),
]


class TransactionStep(Message):
    """`timeout_s` bounds the commit, retries included, and each round of the rollback; both take `input`.

    Without a `rollback` the step cannot be taken back: only such steps may follow it.
    """

    name: Id
    commit: Activity
    rollback: Activity | None = None
    queue: Queue | None = None
    input: dict[str, JsonValue] = Field(default_factory=dict)
    timeout_s: Annotated[float, Field(strict=True, ge=0.1, le=3600)] = 5

    @property
    def operation(self) -> Operation[Any, Any]:
        return self._operation(self.commit)

    @property
    def undo(self) -> Operation[Any, Any] | None:
        return None if self.rollback is None else self._operation(self.rollback)

    def _operation(self, name: str) -> Operation[Any, Any]:
        return OPERATIONS.get(name) or Operation(name, dict, Any, queue=self.queue or "")

    def request(self, transaction_id: str) -> dict[str, JsonValue]:
        """The input of both operations, of the transaction that it names, or else of the document's.

        As it was written: a service of a later build knows fields that the worker of the workflow does not.
        """
        if "transaction_id" not in getattr(self.operation.request, "model_fields", {"transaction_id"}):
            return self.input  # a question, which belongs to no transaction
        return {"transaction_id": transaction_id} | self.input


class Transaction(Message):
    """What `starter.py transaction` is given. Raises `ValueError` with one line that names the step and the field."""

    transaction_id: Id
    steps: Annotated[tuple[TransactionStep, ...], Field(min_length=1, max_length=MAX_STEPS)]

    @property
    def workflow_id(self) -> str:
        return transaction_workflow_id(self.transaction_id)

    def disagreement(self) -> str | None:
        """Where a step asks for something else than the earlier step that it acts on, or `None`.

        No part of the model: the service refuses such a step, and a transaction that is under way must stay valid.
        """
        earlier: dict[tuple[str, str], TransactionStep] = {}
        for step in self.steps:
            operation, ours = step.operation, str(step.input.get("transaction_id", self.transaction_id))
            acts_on = operation.acts_on
            first = None if acts_on is None else earlier.get((ours, acts_on.name))
            if first is not None and first.operation.request is operation.request:
                asked, before = (
                    operation.request.model_validate(each.request(self.transaction_id)) for each in (step, first)
                )
                for name in operation.request.model_fields:
                    if getattr(asked, name) != getattr(before, name):
                        told = f"must be as in step {first.name}, which {operation.name} acts on"
                        return f"step {step.name}: input.{name}: {told}"
            earlier[ours, operation.name] = step
        return None

    @model_validator(mode="after")
    def _belongs_together(self, info: ValidationInfo) -> Self:
        if self.transaction_id in _RESERVED:
            raise ValueError(f"transaction_id: {self.transaction_id} is reserved; choose another")
        names = [step.name for step in self.steps]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"step {twice}: the name is taken by an earlier step; give each step its own")
        for step in self.steps:
            problem = _problem_of(step) or self._problem_of_input(step, written=info.context is WRITTEN)
            if problem is not None:
                raise ValueError(f"step {step.name}: {problem}")
        self._check_ends()
        self._check_fence()
        return self

    def _problem_of_input(self, step: TransactionStep, *, written: bool) -> str | None:
        ours = step.input.get("transaction_id", self.transaction_id)
        parts = str(ours).split("/")
        if not isinstance(ours, str) or parts[0] != self.transaction_id or len(parts) > 2:
            return f"input.transaction_id: must be {self.transaction_id}, or {self.transaction_id}/… for a part of it"
        model, request = step.operation.request, step.request(self.transaction_id)
        if model is dict:
            return None
        try:
            as_written(model, request) if written else model.model_validate(request)
        except ValidationError as error:
            return f"input.{first_problem(error)}"
        return None

    def _check_ends(self) -> None:
        final: str | None = None
        for step in self.steps:
            if step.rollback is not None and final is not None:
                raise ValueError(f"step {final}: rollback: is missing, so no step with a rollback may come after it")
            final = final or (step.name if step.rollback is None else None)

    def _check_fence(self) -> None:
        """A service takes a step once for each transaction: the second of two would be taken for the first again."""
        seen: dict[tuple[str, str], str] = {}
        for step in self.steps:
            operation, ours = step.operation, str(step.input.get("transaction_id", self.transaction_id))
            if operation.name not in OPERATIONS:
                continue
            first = seen.setdefault((ours, operation.step), step.name)
            if first != step.name:
                own = f"{self.transaction_id}/{step.name}"
                told = f"{operation.name} is step {first} already; set input.transaction_id, say to {own}"
                raise ValueError(f"step {step.name}: commit: {told}")


def _problem_of(step: TransactionStep) -> str | None:
    return _problem_in_catalogue(step) if step.commit in OPERATIONS else _problem_outside(step)


def _problem_in_catalogue(step: TransactionStep) -> str | None:
    commit, undo = OPERATIONS[step.commit], OPERATIONS.get(step.rollback or "")
    undos = [name for name, declared in OPERATIONS.items() if declared.undoes is commit]
    if commit.undoes is not None:
        return f"commit: {commit.name} is a rollback, of {commit.undoes.name}"
    if step.queue not in (None, commit.queue):
        return f"queue: {commit.name} is served on {commit.queue}, not on {step.queue}"
    if step.rollback is None or (undo is not None and undo.undoes is commit):
        return None
    does = f"{undos[0]} does" if undos else "nothing does: leave it out, and let no step with a rollback follow"
    return f"rollback: {step.rollback} does not undo {commit.name}; {does}"


def _problem_outside(step: TransactionStep) -> str | None:
    """What is wrong with a step of a user's own service, or with the name of one of ours."""
    for field, name in (("commit", step.commit), ("rollback", step.rollback)):
        ours = name is not None and (name in OPERATIONS or name.partition(".")[0] in _SERVICE_QUEUES)
        if name is not None and (ours or step.queue in _SERVICE_QUEUES):
            near = get_close_matches(name, OPERATIONS, n=1)
            hint = f"; is it {near[0]}?" if near and near[0] != name else "; docs/operations.md lists them"
            return f"{field}: {name} is no operation" + (f" of {step.queue}" if step.queue else "") + hint
    if step.queue is None:
        return f"queue: {step.commit} is no operation of the catalogue, so say which queue serves it"
    if step.rollback == step.commit:
        return f"rollback: {step.commit} cannot undo itself"
    return None
