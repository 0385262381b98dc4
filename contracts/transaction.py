"""The generic transaction: a list of steps as data, each with the operations that commit it and roll it back.

The document is checked as a whole before anything starts. A step names operations of the catalogue, whose inputs are
known, or activities of a user's own service together with its task queue.
"""

from difflib import get_close_matches
from typing import Annotated, Any, Self

from pydantic import Field, JsonValue, ValidationError, ValidationInfo, model_validator

from contracts.catalogue import OPERATIONS, QUEUES
from contracts.ids import transaction_workflow_id
from contracts.message import WRITTEN, Id, InWords, Message, as_written
from contracts.problems import first_problem
from temporal_saga import Operation

MAX_STEPS = 10
"""Limit for the case that every undo is parked for a year: ten times 380 rounds of 12 history events
(`temporal_saga.policy.Rounds`) are 45,600, and Temporal ends a workflow at 51,200. More steps need several
transactions."""
MAX_DOCUMENT_BYTES = 100_000
"""Limit of ten steps of 10 kB. A lane keeps waiting documents in its history, which may have 50 MB."""
_RESERVED = frozenset({"order", "transaction", "lane"})
"""First parts of our own workflow ids. A transaction called `order` could have a part with the id of an order."""

Activity = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.:-]*$", max_length=128),
    InWords("must be 1 to 128 letters (A to Z), digits, dots, colons, dashes or underscores, a letter first"),
]
"""The name of an operation of the catalogue, or of an activity of a user's own service."""
Queue = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$", max_length=128),
    InWords("must be 1 to 128 letters (A to Z), digits, dots, colons, slashes, dashes or underscores"),
]


class TransactionStep(Message):
    """One step of a generic transaction."""

    name: Id
    commit: Activity
    rollback: Activity | None = None
    """The undo of `commit`. A step without one cannot be undone, and only such steps may follow it."""
    queue: Queue | None = None
    """The task queue of a user's own activities; the catalogue knows that of its operations."""
    input: dict[str, JsonValue] = Field(default_factory=dict)
    """The input of both operations."""
    timeout_s: Annotated[float, Field(strict=True, ge=0.1, le=3600)] = 5
    """Seconds for the commit, retries included, and for each round of the rollback."""

    @property
    def operation(self) -> Operation[Any, Any]:
        return self._operation(self.commit)

    @property
    def undo(self) -> Operation[Any, Any] | None:
        return None if self.rollback is None else self._operation(self.rollback)

    def _operation(self, name: str) -> Operation[Any, Any]:
        return OPERATIONS.get(name) or Operation(name, dict, Any, queue=self.queue or "")

    def request(self, transaction_id: str) -> dict[str, JsonValue]:
        """The input with a transaction id: its own if it names one, or `transaction_id`.

        It is passed on as it was written: a service of a later build may know fields that this worker does not.
        """
        if "transaction_id" not in getattr(self.operation.request, "model_fields", {"transaction_id"}):
            return self.input  # a query belongs to no transaction
        return {"transaction_id": transaction_id} | self.input


class Transaction(Message):
    """The document of `starter.py transaction`. Its errors are one line that names the step and the field."""

    transaction_id: Id
    steps: Annotated[tuple[TransactionStep, ...], Field(min_length=1, max_length=MAX_STEPS)]

    @property
    def workflow_id(self) -> str:
        return transaction_workflow_id(self.transaction_id)

    def disagreement(self) -> str | None:
        """The first step that asks for something else than the earlier step that it acts on, with the field.

        Validation does not check it, because a transaction that is under way must stay valid; the service refuses it.
        """
        earlier: dict[tuple[str, str], TransactionStep] = {}
        for step in self.steps:
            operation, transaction = step.operation, str(step.input.get("transaction_id", self.transaction_id))
            acts_on = operation.acts_on
            first = None if acts_on is None else earlier.get((transaction, acts_on.name))
            if first is not None and first.operation.request is operation.request:
                second_request, first_request = (
                    operation.request.model_validate(each.request(self.transaction_id)) for each in (step, first)
                )
                for name in operation.request.model_fields:
                    if getattr(second_request, name) != getattr(first_request, name):
                        problem = f"must be as in step {first.name}, which {operation.name} acts on"
                        return f"step {step.name}: input.{name}: {problem}"
            earlier[transaction, operation.name] = step
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
        given = step.input.get("transaction_id", self.transaction_id)
        parts = str(given).split("/")
        if not isinstance(given, str) or parts[0] != self.transaction_id or len(parts) > 2:
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
        """Refuse two steps under one idempotency key: the fence would take the second for a repeated first."""
        seen: dict[tuple[str, str], str] = {}
        for step in self.steps:
            operation, transaction = step.operation, str(step.input.get("transaction_id", self.transaction_id))
            if operation.name not in OPERATIONS:
                continue
            first = seen.setdefault((transaction, operation.step), step.name)
            if first != step.name:
                own = f"{self.transaction_id}/{step.name}"
                problem = f"{operation.name} is step {first} already; set input.transaction_id, say to {own}"
                raise ValueError(f"step {step.name}: commit: {problem}")


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
    """The problem of a step whose commit is not in the catalogue: a user's own service, or a misspelt name."""
    for field, name in (("commit", step.commit), ("rollback", step.rollback)):
        is_ours = name is not None and (name in OPERATIONS or name.partition(".")[0] in QUEUES)
        if name is not None and (is_ours or step.queue in QUEUES):
            near = get_close_matches(name, OPERATIONS, n=1)
            hint = f"; is it {near[0]}?" if near and near[0] != name else "; docs/operations.md lists them"
            return f"{field}: {name} is no operation" + (f" of {step.queue}" if step.queue else "") + hint
    if step.queue is None:
        return f"queue: {step.commit} is no operation of the catalogue, so say which queue serves it"
    if step.rollback == step.commit:
        return f"rollback: {step.commit} cannot undo itself"
    return None
