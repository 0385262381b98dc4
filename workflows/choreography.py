"""The choreography of an order, derived from the plan of `workflows/order.py`: the role of each service in it.

| in the plan | in the choreography |
|---|---|
| a step | its service makes the call after the events of the stage before; the first step follows OrderPlaced |
| the pivot | its service decides: it makes the call after the events of all steps |
| a finish, a best-effort call | its service makes the call after the confirmation |
| an undo, the call on rollback | its service makes the call after the cancellation |

The plan is followed anew in each participant's workflow, so a guard (`workflow.patched`) in the process holds here as
it does in every other mode. `contracts/choreography.py` adds the names of the events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from contracts.choreography import EVENTS, REQUESTS_TO_CANCEL, Event, Fact
from saga import CallKind, Plan, PlannedCall


@dataclass(frozen=True)
class Reaction:
    """Make `call` and emit `emits`, or `emits_on_failure`, once all of `after` or any of `on` has happened.

    Without a call the event alone is emitted. `until`: the events that must have happened before the participant ends.
    """

    kind: CallKind
    call: PlannedCall | None
    emits: Fact
    emits_on_failure: Fact | None = None
    after: frozenset[Fact] = frozenset()
    on: frozenset[Fact] = frozenset()
    until: frozenset[Fact] = frozenset()

    @property
    def subscribes_to(self) -> frozenset[Fact]:
        return self.after | self.on | self.until

    def is_due(self, happened: Mapping[Fact, Event]) -> bool:
        return (bool(self.after) and self.after <= happened.keys()) or not self.on.isdisjoint(happened)


@dataclass(frozen=True)
class Role:
    """What a service does for an order: its step, if it has one, and after the decision either the finish or the undo.

    The service that decides makes the decision by its finish or its undo. Either call may be refused, because of an
    earlier decision.
    """

    forward: Reaction | None
    finish: Reaction
    undo: Reaction
    is_decider: bool = False

    @property
    def reactions(self) -> tuple[Reaction, ...]:
        return (*((self.forward,) if self.forward else ()), self.finish, self.undo)

    @property
    def subscribes_to(self) -> frozenset[Fact]:
        return frozenset().union(*(reaction.subscribes_to for reaction in self.reactions))


Roles: TypeAlias = dict[str, Role]
Reactions: TypeAlias = dict[str, Reaction]
Calls: TypeAlias = dict[str, tuple[CallKind, PlannedCall | None]]


def roles_of(plan: Plan) -> Roles:
    """The role of each service in `plan`. Raises where `plan` has no choreography.

    That is where a service has no row in `EVENTS`, or two steps or two finishes, or where there is not exactly one
    pivot.
    """
    forward, finishes, undos = Reactions(), Calls(), Calls()
    before = frozenset({Fact.ORDER_PLACED})
    for stage in plan.stages:
        for call in stage.calls:
            service = call.operation.service
            if service in (forward if stage.kind is CallKind.STEP else finishes):
                raise RuntimeError(f"{call.operation.name}: {service} has another {stage.kind}, and no event for this")
            if stage.kind is CallKind.STEP:
                events = EVENTS[service]
                forward[service] = Reaction(stage.kind, call, events.done, events.failed, after=before)
            else:
                finishes[service] = stage.kind, call
            if call.undo is not None:
                undos[service] = CallKind.UNDO, PlannedCall(call.undo, call.request)
        if stage.kind is CallKind.STEP:
            before = frozenset(EVENTS[call.operation.service].done for call in stage.calls)
    if plan.rollback_call is not None:
        undos.setdefault(plan.rollback_call.operation.service, (CallKind.BEST_EFFORT, plan.rollback_call))
    [decider] = (service for service, (kind, _) in finishes.items() if kind is CallKind.PIVOT)
    confirmed, cancelled = frozenset({EVENTS[decider].finished}), frozenset({EVENTS[decider].undone})
    roles = {
        service: Role(
            forward.get(service),
            Reaction(*finishes.get(service, (CallKind.FINISH, None)), EVENTS[service].finished, after=confirmed),
            Reaction(*undos.get(service, (CallKind.UNDO, None)), EVENTS[service].undone, on=cancelled),
        )
        for service in dict.fromkeys([*forward, *finishes, *undos])
    }
    return roles | {decider: _deciding(decider, roles)}


def _deciding(service: str, roles: Roles) -> Role:
    """The role of the service that decides: it waits for the steps of the others, and ends after all of them."""
    role, events = roles[service], EVENTS[service]
    others = [other for name, other in roles.items() if name != service]
    steps = [other.forward for other in others if other.forward is not None]
    failures = (events.failed, events.not_confirmed, *(step.emits_on_failure for step in steps))
    finished = frozenset(other.finish.emits for other in others)
    undone = frozenset(other.undo.emits for other in others)
    confirm = replace(
        role.finish,
        emits_on_failure=events.not_confirmed,
        after=frozenset(step.emits for step in steps),
        # A participant that starts again when the others have ended learns the decision from what followed it.
        on=finished - undone,
        until=finished,
    )
    cancel = replace(
        role.undo,
        kind=CallKind.PIVOT,
        on=REQUESTS_TO_CANCEL | frozenset(filter(None, failures)) | (undone - finished),
        until=undone,
    )
    return replace(role, finish=confirm, undo=cancel, is_decider=True)
