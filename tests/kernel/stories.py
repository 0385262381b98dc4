"""Random sagas: a shape, failures of some of its calls, and an interruption at a random moment."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from hypothesis import strategies as st

from .cancels import by_business, by_temporal
from .services import Behaviour, fail, lose_reply, refuse, work
from .tree import PIVOT, Node, Tree, finish


@dataclass(frozen=True)
class Script:
    """What the calls of an operation do: the `first` of them, and all later ones."""

    says: str
    first: tuple[Behaviour, ...] = ()
    then: Behaviour = work


class Trouble(Enum):
    STUMBLES = Script("fails twice, then works", (fail, fail))
    REPLY_LOST = Script("loses its reply, then works", (lose_reply,))
    REFUSES = Script("refuses", then=refuse)
    DOWN = Script("fails for ever", then=fail)
    GONE = Script("acts, then fails for ever", (lose_reply,), fail)
    FAILS_LONG = Script("fails seven times, then works", (fail,) * 7)
    LOSES_LONG = Script("acts and loses seven replies, then works", (lose_reply,) * 7)
    REFUSES_ONCE = Script("refuses once, then works", (refuse,))
    REFUSES_LATE = Script("fails seven times, then refuses", (fail,) * 7, refuse)


T = Trouble
OF_A_STEP = [T.STUMBLES, T.REPLY_LOST, T.REFUSES, T.DOWN, T.GONE]
OF_A_PIVOT = [T.REPLY_LOST, T.REFUSES, T.FAILS_LONG, T.LOSES_LONG, T.REFUSES_LATE]
OF_A_PROMISE = [T.STUMBLES, T.REPLY_LOST, T.FAILS_LONG, T.LOSES_LONG, T.REFUSES_ONCE]
"""Trouble of an undo or a finish, which must get through: seven failures are more than a round, so it is parked."""
DECISIVE = {T.REFUSES, T.DOWN, T.GONE, T.REFUSES_LATE}
"""A step or a pivot with such trouble is not known to be done."""
CANCELS = {"the business": by_business, "Temporal": by_temporal}


@dataclass(frozen=True)
class Story:
    tree: Tree
    troubles: dict[str, Trouble] = field(default_factory=dict)
    cancel: tuple[str, str] | None = None
    """Who cancels, and the operation whose first call is running then."""
    deadline_s: float | None = None

    @property
    def cancel_is_answered(self) -> bool:
        """Whether the cancel is accepted or refused. Temporal accepts any, and leaves it to the workflow what to do."""
        return self.cancel is not None and self.cancel[0] == "the business"

    def __repr__(self) -> str:
        lines = [_spelled(self.tree.body)]
        lines += [f"pivot, then {', '.join(self.tree.finishes) or 'nothing'}" if self.tree.pivot else "no pivot"]
        lines += [f"{operation} {trouble.value.says}" for operation, trouble in self.troubles.items()]
        lines += [f"{self.cancel[0]} cancels during {self.cancel[1]}"] if self.cancel else []
        lines += [f"deadline {self.deadline_s} s"] if self.deadline_s else []
        return "; ".join(lines)


def _spelled(nodes: tuple[Node, ...]) -> str:
    """Write nodes as `a (b c | d) x?`: a group's branches between bars, a step without an undo with a question mark."""
    return " ".join(
        f"({' | '.join(map(_spelled, node.branches))})" if node.branches else node.name + "?" * (not node.undoable)
        for node in nodes
    )


_leaf = st.sampled_from([Node(), Node(), Node(), Node(undoable=False)])


def _groups(inner: st.SearchStrategy[Node], most: int) -> st.SearchStrategy[Node]:
    branches = st.lists(st.lists(inner, min_size=1, max_size=2).map(tuple), min_size=2, max_size=most)
    return branches.map(lambda found: Node(branches=tuple(found)))


_body = st.lists(_leaf | _groups(_leaf | _groups(_leaf, 2), 3), min_size=1, max_size=4)


def _named(nodes: tuple[Node, ...], names: Iterator[str]) -> tuple[Node, ...]:
    """The same nodes, with the steps named in the order they are written."""
    return tuple(
        replace(node, branches=tuple(_named(branch, names) for branch in node.branches))
        if node.branches
        else replace(node, name=next(names))
        for node in nodes
    )


@st.composite
def stories(draw: st.DrawFn) -> Story:
    body = _named(tuple(draw(_body)), (f"s{number}" for number in range(1, 1000)))
    pivot = draw(st.sampled_from([True, True, True, False]))
    tree = Tree(body, pivot, ("m", "n")[: draw(st.integers(0, 2))] if pivot else ())
    forwards = [step.forward.name for step in tree.steps]
    promises = [step.undo.name for step in tree.steps if step.undo] + [finish(name).name for name in tree.finishes]
    troubles = draw(st.dictionaries(st.sampled_from(forwards), st.sampled_from(OF_A_STEP), max_size=2))
    if promises:
        troubles |= draw(st.dictionaries(st.sampled_from(promises), st.sampled_from(OF_A_PROMISE), max_size=2))
    if pivot:
        troubles |= draw(st.dictionaries(st.just(PIVOT.name), st.sampled_from(OF_A_PIVOT), max_size=1))
    moments = st.tuples(st.sampled_from([*CANCELS]), st.sampled_from([*forwards, *([PIVOT.name] * pivot), *promises]))
    cancel = draw(st.none() | moments)
    return Story(tree, troubles, cancel, draw(st.sampled_from([None, None, 0.05, 0.2, 1.0, 60.0])))
