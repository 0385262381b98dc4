"""The operator's desk of one saga: the calls that do not get through, and what an operator decides about them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias

from temporalio import workflow

from temporal_saga.journal import CallKind, Failure
from temporal_saga.operation import Operation
from temporal_saga.visibility import SAGA_DECIDED_AT, upsert

_LONGEST_PROBLEM = 300
"""Limit on the characters of a converter's error message: it is one line of a reply."""


def transaction_of(request: Any) -> str | None:
    """The transaction id in a request, or `None` if it has none."""
    found = request.get("transaction_id") if isinstance(request, dict) else getattr(request, "transaction_id", None)
    return None if found is None else str(found)


class DeskRefused(Exception):
    """The decision cannot be taken: nothing of that name is parked, it may not be skipped, or the request is wrong."""


@dataclass(frozen=True)
class Parked:
    """A call that has failed a round of attempts and is neither done nor skipped. Times are UTC.

    `attempts` counts those of all finished rounds. While a round runs, `trying_since` says when it began, and
    `next_attempt_at` is that time too.
    """

    step: str
    kind: CallKind
    since: datetime
    attempts: int
    next_attempt_at: datetime
    error: Failure
    trying_since: datetime | None = None


@dataclass(frozen=True)
class Retry:
    """Try again now."""

    actor: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Skip:
    """Leave the call undone: the actor has settled it by other means. The log and the end of the saga keep it."""

    actor: str
    reason: str


@dataclass(frozen=True)
class Fix:
    """Try again now with another request."""

    actor: str
    request: Any
    reason: str | None = None


Decision = Retry | Skip | Fix


@dataclass(frozen=True)
class Decided:
    """A decision as it was taken: `decision` is `retry`, `skip` or `fix`; a fix has a `request`."""

    decision: str
    at: datetime
    actor: str | None = None
    reason: str | None = None
    request: Any = None


Remedy: TypeAlias = Callable[[Parked], str]
"""The command that an operator runs for a parked call."""


@dataclass(frozen=True)
class DeskRecord:
    """All that the desk knows about a call: `original` is the saga's request, `request` the one of the latest fix.

    `parked` is unset once the call is done or skipped. `waits` is a decision that is applied when the round ends.
    """

    step: str
    operation: str
    parked: Parked | None
    original: Any
    request: Any
    decisions: tuple[Decided, ...]
    waits: str | None = None


@dataclass
class _Case:
    """What the desk keeps about one call."""

    operation: Operation[Any, Any]
    original: Any
    request: Any
    parked: Parked | None
    waiting: Decision | None = None
    decisions: list[Decided] = field(default_factory=list)


class Desk:
    """The calls that do not get through, by step, and the operators' decisions about them.

    A call is on the desk from its first failed round until it is done or skipped, also while a round of attempts runs.
    A decision is taken at any time and applied when the round is over. Until then a second one is refused: an accepted
    decision is never replaced by another.

    The workflow's current details, which the Web UI shows, list the calls with the command that `remedy` names.
    """

    def __init__(self, remedy: Remedy | None = None) -> None:
        self._cases: dict[str, _Case] = {}
        self._remedy = remedy or _update
        self._decided = 0

    @property
    def parked(self) -> list[Parked]:
        return [case.parked for case in self._cases.values() if case.parked is not None]

    def record(self, step: str) -> DeskRecord | None:
        """All about a call that is or was on the desk; `None` if it never was."""
        case = self._cases.get(step)
        if case is None:
            return None
        waits = None if case.waiting is None else _name(case.waiting)
        return DeskRecord(
            step, case.operation.name, case.parked, case.original, case.request, tuple(case.decisions), waits
        )

    # --- used by the call ---------------------------------------------------------------------------------------------

    def park(self, parked: Parked, operation: Operation[Any, Any], request: Any) -> None:
        """Put a call on the desk whose round has failed. It waits for the next round, or for a decision."""
        case = self._cases.setdefault(parked.step, _Case(operation, request, request, parked))
        case.parked, case.request = parked, request
        self._show()

    def begin_round(self, step: str, request: Any) -> None:
        """Note that the call is being tried with `request` from now on. It stays on the desk."""
        case, now = self._cases.get(step), workflow.now()
        if case is not None and case.parked is not None:
            case.request, case.parked = request, replace(case.parked, next_attempt_at=now, trying_since=now)
            self._show()

    def postpone(self, step: str, until: datetime) -> None:
        """Note when the service, which has work in hand, is asked again."""
        case = self._cases.get(step)
        if case is not None and case.parked is not None:
            case.parked = replace(case.parked, next_attempt_at=until, trying_since=None)
            self._show()

    def settle(self, step: str) -> None:
        """Take a call that is done or skipped off the desk. A decision that was not applied yet is dropped."""
        if step in self._cases:
            case = self._cases[step]
            case.parked = case.waiting = None
            self._show()

    def decided(self, step: str) -> bool:
        """Whether a decision about `step` waits to be applied."""
        return step in self._cases and self._cases[step].waiting is not None

    def take(self, step: str) -> Decision | None:
        """Return the decision about `step`, if there is one. The caller applies it."""
        case = self._cases.get(step)
        if case is None:
            return None
        case.waiting, taken = None, case.waiting
        return taken

    # --- used by the operator -----------------------------------------------------------------------------------------

    def check(self, step: str, decision: Decision) -> None:
        """Raise `DeskRefused` if the decision cannot be taken now."""
        case = self._cases.get(step)
        if case is None or case.parked is None:
            known = ", ".join(each.step for each in self.parked) or "nothing"
            raise DeskRefused(f"{step} is not parked; parked is {known}")
        if case.waiting is not None:
            before = f"a {_name(case.waiting)} was decided before"
            raise DeskRefused(f"{step}: {before} and is applied when the running attempts are over; decide again then")
        if isinstance(decision, Skip) and not case.parked.kind.is_skippable:
            raise DeskRefused(f"{step} decides the saga: it can be retried or fixed, not skipped")
        if isinstance(decision, Fix):
            ours = transaction_of(case.original)
            if not isinstance(decision.request, dict) or transaction_of(decision.request) != ours:
                raise DeskRefused(f"the request must be one of transaction {ours}")  # another would undo nothing
            problem = _problem_of(decision.request, case.operation.request)
            if problem is not None:
                raise DeskRefused(f"not a request for {case.operation.name}: {problem}")

    def decide(self, step: str, decision: Decision) -> None:
        """Take a decision that `check` has allowed. A replay takes it without asking the `check` of today's build."""
        case = self._cases[step]
        case.waiting = decision
        said: dict[str, Any] = vars(decision)
        case.decisions.append(Decided(_name(decision), workflow.now(), **said))
        self._decided += 1
        upsert([SAGA_DECIDED_AT.value_set(workflow.now())], f"decision-{self._decided}")

    # --- shown in the Web UI ------------------------------------------------------------------------------------------

    def _show(self) -> None:
        """Describe the parked calls in Markdown. The Web UI needs an empty line before a list, and nests none."""
        calls = [line for parked in self.parked for line in self._described(parked)]
        head = "**Parked.** Each call is tried again by itself until it is done, or until an operator decides."
        workflow.set_current_details("\n".join([head, *calls]) if calls else "")

    def _described(self, parked: Parked) -> list[str]:
        being_tried = parked.trying_since is not None
        then = (
            f"being tried since {_at(parked.next_attempt_at)}"
            if being_tried
            else f"next at {_at(parked.next_attempt_at)}"
        )
        tries = "1 attempt" if parked.attempts == 1 else f"{parked.attempts} attempts"
        message = " ".join(parked.error.message.replace("`", "'").split())
        return [
            "",
            f"`{parked.step}` ({parked.kind}) since {_at(parked.since)}:",
            "",
            f"- `{parked.error.code}: {message}`",
            f"- {tries}, {then}",
            f"- `{self._remedy(parked)}`",
        ]


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%SZ}"


def _update(parked: Parked) -> str:
    """The Temporal CLI's command for the update that retries a call."""
    workflow_id = workflow.info().workflow_id
    asked = f"--name desk_retry --input '\"{parked.step}\"'"
    return f"temporal workflow update execute --workflow-id {workflow_id} {asked}"


def _name(decision: Decision) -> str:
    return type(decision).__name__.lower()


def _problem_of(document: Mapping[str, Any], wanted: type) -> str | None:
    """Why the payload converter cannot read `document` as a `wanted`, in its words; `None` if it can.

    A field that the converter ignores is a problem too: what an operator writes must have an effect.
    """
    converter = workflow.payload_converter()
    try:
        [read] = converter.from_payloads(converter.to_payloads([document]), [wanted])
    except Exception as error:  # noqa: BLE001 — any type of the converter's library says that it cannot be read
        words = " ".join(str(error.__cause__ or error).split())
        return words if len(words) <= _LONGEST_PROBLEM else f"{words[:_LONGEST_PROBLEM]}…"
    lost = _unread(document, json.loads(converter.to_payload(read).data), "")
    return None if lost is None else f"{lost}: there is no such field"


def _unread(written: Any, read: Any, path: str) -> str | None:
    """The first field of `written` that is not in `read`."""
    if isinstance(written, Mapping) and isinstance(read, Mapping):
        for name, value in written.items():
            inner = f"{path}.{name}" if path else name
            found = inner if name not in read else _unread(value, read[name], inner)
            if found is not None:
                return found
    if isinstance(written, list) and isinstance(read, list):
        pairs = enumerate(zip(written, read, strict=False))
        return next(filter(None, (_unread(*pair, f"{path}.{at}") for at, pair in pairs)), None)
    return None
