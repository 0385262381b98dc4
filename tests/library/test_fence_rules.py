"""The rules of the fence: every row of their table, and what holds in whatever order requests arrive."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporal_saga.fence import rules
from temporal_saga.fence.rules import (
    Act,
    ActedOn,
    Asked,
    Kept,
    OperationState,
    Refuse,
    Repeat,
    Tombstone,
    Verdict,
    admit,
    is_part_of,
    keeps,
)

DONE, REFUSED, UNDONE, TOMBSTONE = OperationState
_NO = Refuse("SOLD_OUT", "no room in Oslo")
_CONFLICT = Refuse("IDEMPOTENCY_CONFLICT", "hotel.book came before with another request")
_UNDONE = Refuse("STEP_UNDONE", "hotel.book was undone: it can no longer be done")

Row = tuple[str, OperationState | None, str]
TABLE: dict[Row, Verdict] = {
    ("forward", None, "first"): Act(DONE, "this"),
    ("forward", DONE, "same"): Repeat("kept"),
    ("forward", DONE, "other"): _CONFLICT,
    ("forward", REFUSED, "same"): _NO,
    ("forward", REFUSED, "other"): _CONFLICT,
    ("forward", UNDONE, "same"): _UNDONE,
    ("forward", UNDONE, "other"): _CONFLICT,
    ("forward", TOMBSTONE, "same"): _UNDONE,
    ("forward", TOMBSTONE, "other"): _CONFLICT,
    ("undo", None, "first"): Tombstone("this"),
    ("undo", DONE, "same"): Act(UNDONE, "this"),
    ("undo", DONE, "other"): _CONFLICT,
    ("undo", REFUSED, "same"): Tombstone("this"),
    ("undo", REFUSED, "other"): Tombstone("that"),  # a late forward must find its own digest, and STEP_UNDONE
    ("undo", UNDONE, "same"): Repeat("kept"),
    ("undo", UNDONE, "other"): Repeat("kept"),
    ("undo", TOMBSTONE, "same"): Repeat("kept"),
    ("undo", TOMBSTONE, "other"): Repeat("kept"),
}


def _asked(what: str, digest: str = "this") -> Asked:
    return Asked("hotel.book" if what == "forward" else "hotel.cancel", "hotel.book", digest, is_undo=what == "undo")


def _found(state: OperationState, digest: str) -> Kept:
    return Kept(state, digest, _NO.text if state is REFUSED else "kept")


def test_the_table_has_a_row_for_every_request_and_every_record() -> None:
    found = [(None, "first"), *itertools.product((DONE, REFUSED, UNDONE, TOMBSTONE), ("same", "other"))]
    assert TABLE.keys() == {(what, *record) for what in ("forward", "undo") for record in found}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: "-".join(map(str, row)))
def test_a_request_gets_the_verdict_of_its_row(row: Row) -> None:
    what, state, digest = row
    found = None if state is None else _found(state, "this" if digest == "same" else "that")
    assert admit(_asked(what), found) == TABLE[row]


_CAPTURE = Asked("payment.capture", "payment.capture", "this")
_NOTHING = "payment.authorize {}: payment.capture has nothing to act on"
_ACTING: dict[OperationState | None, tuple[Verdict, Verdict]] = {
    DONE: (
        Act(DONE, "this"),
        Refuse(
            "IDEMPOTENCY_CONFLICT",
            "payment.capture must ask for what payment.authorize did, which came with another request",
        ),
    ),
    None: (Refuse("NOTHING_TO_ACT_ON", _NOTHING.format("has not arrived")),) * 2,
    REFUSED: (Refuse("NOTHING_TO_ACT_ON", _NOTHING.format("was refused")),) * 2,
    UNDONE: (Refuse("NOTHING_TO_ACT_ON", _NOTHING.format("was undone")),) * 2,
    TOMBSTONE: (Refuse("NOTHING_TO_ACT_ON", _NOTHING.format("was undone")),) * 2,
}


@pytest.mark.parametrize("earlier", _ACTING, ids=str)
@pytest.mark.parametrize("is_same", [True, False], ids=["same", "other"])
def test_an_operation_acts_only_on_what_is_done_and_asks_for_the_same(
    earlier: OperationState | None, *, is_same: bool
) -> None:
    kept = None if earlier is None else _found(earlier, "this")
    verdict = admit(_CAPTURE, None, ActedOn("payment.authorize", kept, is_same=is_same))
    assert verdict == _ACTING[earlier][0 if is_same else 1]


def test_an_operation_that_has_acted_is_repeated_whatever_became_of_the_earlier_one() -> None:
    earlier = ActedOn("payment.authorize", _found(UNDONE, "this"), is_same=False)
    assert admit(_CAPTURE, _found(DONE, "this"), earlier) == Repeat("kept")


def test_the_refusals_that_the_right_request_would_meet_are_not_kept() -> None:
    assert [code for code in ("SOLD_OUT", "NOTHING_TO_ACT_ON", "IDEMPOTENCY_CONFLICT") if keeps(code)] == ["SOLD_OUT"]


def test_a_request_of_another_type_asks_for_the_same_if_the_reply_has_all_its_fields() -> None:
    assert is_part_of({"order_id": "o-1"}, {"order_id": "o-1", "state": "PENDING"})
    assert not is_part_of({"order_id": "o-2"}, {"order_id": "o-1", "state": "PENDING"})
    assert not is_part_of({"amount_minor": None}, {"order_id": "o-1"})


@dataclass(frozen=True)
class _Arrival:
    is_undo: bool
    digest: str
    would_be_refused: bool
    """By the rules of the business at that moment; it counts only if the step is performed."""


@dataclass
class _Service:
    """A service with one step: a record, and the effects in their order."""

    record: Kept | None = None
    effects: list[tuple[str, str]] = field(default_factory=list)

    def deliver(self, arrival: _Arrival) -> Repeat | Refuse:
        verdict = admit(_asked("undo" if arrival.is_undo else "forward", arrival.digest), self.record)
        if isinstance(verdict, Repeat | Refuse):
            return verdict
        if verdict == Act(DONE, arrival.digest) and arrival.would_be_refused:
            self.record = Kept(REFUSED, verdict.digest, _NO.text)
            return _NO
        if isinstance(verdict, Act):
            self.effects.append(("undo" if arrival.is_undo else "do", arrival.digest))
        self.record = Kept(verdict.state, verdict.digest, f"{verdict.state} for {arrival.digest}")
        return Repeat(self.record.answer)


@given(st.lists(st.builds(_Arrival, st.booleans(), st.sampled_from("ab"), st.booleans()), max_size=8))
def test_in_any_order_a_step_acts_once_and_never_after_its_undo(arrivals: list[_Arrival]) -> None:
    service, answers = _Service(), list[tuple[_Arrival, Repeat | Refuse]]()
    for arrival in arrivals:
        answers.append((arrival, service.deliver(arrival)))
        deeds = [deed for deed, _ in service.effects]
        assert deeds in ([], ["do"], ["do", "undo"])
        assert len({digest for _, digest in service.effects}) <= 1, "an undo takes back what was done"
    undone = [
        place for place, (arrival, answer) in enumerate(answers) if arrival.is_undo and isinstance(answer, Repeat)
    ]
    for arrival, answer in answers[undone[0] :] if undone else []:
        assert arrival.is_undo or answer in (_UNDONE, _CONFLICT), "no forward passes its undo"
    for arrival, answer in answers:
        if not arrival.is_undo and answer == _NO:
            assert service.effects == [], "a refusal is final"
        if arrival.is_undo and isinstance(answer, Repeat):
            assert ("do", arrival.digest) not in service.effects or ("undo", arrival.digest) in service.effects


@given(st.lists(st.builds(_Arrival, st.booleans(), st.sampled_from("ab"), st.booleans()), max_size=8))
def test_in_any_order_a_request_that_was_performed_gets_one_reply(arrivals: list[_Arrival]) -> None:
    service = _Service()
    answers = [(arrival, service.deliver(arrival)) for arrival in arrivals]
    for is_undo in (False, True):
        assert len({answer for each, answer in answers if each.is_undo is is_undo and isinstance(answer, Repeat)}) <= 1


def test_the_document_has_the_table_of_the_rules() -> None:
    rows = [line for line in (rules.__doc__ or "").splitlines() if line.startswith("|")]
    document = (Path(__file__).parents[2] / "docs/library/fence.md").read_text()
    assert rows
    assert [row for row in rows if row not in document] == []
