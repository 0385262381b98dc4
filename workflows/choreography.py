"""The choreography of an order, derived from the plan of `workflows/order.py`: the role of each service in it.

| in the plan | in the choreography |
|---|---|
| a step | its service makes the call after the events of the stage before; the first step follows OrderPlaced |
| the pivot | its service decides: it makes the call after the events of all steps |
| a finish, a best-effort call | its service makes the call after the confirmation |
| an undo, the call on rollback | its service makes the call after the cancellation |

The plan is followed anew in each participant's workflow, so a guard (`saga.patched`) in the process holds here as
it does in every other mode. `contracts/choreography.py` adds the names of the events.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from contracts.choreography import ENDS, EVENTS, REQUESTS_TO_CANCEL, Event, Fact
from temporal_saga import CallKind, Plan, PlannedCall


@dataclass(frozen=True)
class Reaction:
    """Make `calls` in order and emit `emits`, once all of `after` or any of `on` has happened.

    Without a call the event alone is emitted. If a step or the pivot fails, `emits_on_failure` is emitted instead.
    `until`: the events that must have happened before the participant ends.
    """

    calls: tuple[PlannedCall, ...]
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
    """What a service does for an order: its steps, if it has any, and after the decision the finish or the undo.

    The service that decides makes the decision by the first call of its finish or its undo. Either may be refused,
    because of an earlier decision.
    """

    steps: tuple[Reaction, ...]
    finish: Reaction
    undo: Reaction
    is_decider: bool = False

    @property
    def reactions(self) -> tuple[Reaction, ...]:
        return (*self.steps, self.finish, self.undo)

    @property
    def subscribes_to(self) -> frozenset[Fact]:
        return frozenset().union(*(reaction.subscribes_to for reaction in self.reactions))


Roles: TypeAlias = dict[str, Role]
_Calls: TypeAlias = defaultdict[str, list[PlannedCall]]


def roles_of(plan: Plan) -> Roles:
    """The role of each service in `plan`. Raises `LookupError` for a call without an event in `EVENTS` or `ENDS`."""
    steps, finishes, undos = defaultdict[str, list[Reaction]](list), _Calls(list), _Calls(list)
    decider, before = "", frozenset({Fact.ORDER_PLACED})
    for stage in plan.stages:
        for call in stage.calls:
            service, made = call.operation.service, PlannedCall(call.kind, call.operation, call.request)
            if call.kind is CallKind.STEP:
                steps[service].append(Reaction((made,), *EVENTS[call.operation], after=before))
            else:
                finishes[service].append(made)
            if call.kind is CallKind.PIVOT:
                decider = service
            if call.undo is not None:
                undos[service].insert(0, PlannedCall(CallKind.UNDO, call.undo, call.request))
        if stage.kind is CallKind.STEP:
            before = frozenset(EVENTS[call.operation].done for call in stage.calls)
    if (last := plan.rollback_call) is not None:
        own = undos[last.operation.service]
        if not any(call.operation is last.operation for call in own):
            own.append(last)
        own[:] = [replace(call, explained=last.explained) if call.operation is last.operation else call for call in own]
    decision, roles = ENDS[decider], Roles()
    for service in dict.fromkeys([*steps, *finishes, *undos]):
        finish = Reaction(tuple(finishes[service]), ENDS[service].confirmed, after=frozenset({decision.confirmed}))
        undo = Reaction(tuple(undos[service]), ENDS[service].cancelled, on=frozenset({decision.cancelled}))
        roles[service] = Role(tuple(steps[service]), finish, undo)
    return roles | {decider: _deciding(decider, roles)}


def _deciding(service: str, roles: Roles) -> Role:
    """The role of the service that decides: it waits for the steps of the others, and ends after all of them.

    Its own first step, the creation of the order, is before all of these, and the undo of that step is the decision to
    cancel.
    """
    role = roles[service]
    [creation, *_], [pivot, *_], [*later, cancel] = role.steps, role.finish.calls, role.undo.calls
    steps = [step for each in roles.values() for step in each.steps if step is not creation]
    others = [other for name, other in roles.items() if name != service]
    finished = frozenset(other.finish.emits for other in others)
    undone = frozenset(other.undo.emits for other in others)
    failures = (step.emits_on_failure for step in (creation, *steps))
    not_confirmed = EVENTS[pivot.operation].failed
    finish = replace(
        role.finish,
        emits_on_failure=not_confirmed,
        after=frozenset(step.emits for step in steps),
        # A participant that starts again when the others have ended learns the decision from what followed it.
        on=finished - undone,
        until=finished,
    )
    undo = replace(
        role.undo,
        calls=(replace(cancel, kind=CallKind.PIVOT), *later),
        on=REQUESTS_TO_CANCEL | {not_confirmed} | frozenset(filter(None, failures)) | (undone - finished),
        until=undone,
    )
    return Role(role.steps, finish, undo, is_decider=True)
