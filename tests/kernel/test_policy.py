"""The numbers of the policies: attempts and pauses fit into the total."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from temporal_saga import POLICIES, Operation, Policy, Rounds

from .plan import Booking, Receipt

S = timedelta(seconds=1)


@pytest.mark.parametrize("policy", [POLICIES.forward, POLICIES.best_effort])
def test_all_attempts_and_pauses_fit_into_the_total(policy: Policy) -> None:
    assert policy.attempt_timeout * policy.attempts + pauses(policy) <= policy.total


def test_a_timeout_of_its_own_stretches_the_total_of_a_step() -> None:
    own = POLICIES.forward.with_attempt_timeout(30 * S)
    assert own.attempt_timeout == 30 * S
    assert own.attempts == POLICIES.forward.attempts
    assert own.attempt_timeout * own.attempts + pauses(own) <= own.total


def test_a_shorter_timeout_of_its_own_shrinks_the_total_of_a_step() -> None:
    assert POLICIES.forward.with_attempt_timeout(S / 2).total < POLICIES.forward.total


@pytest.mark.parametrize("timeout", [S / 10, S / 5, S, 5 * S, 30 * S, 3600 * S])
def test_a_call_that_is_tried_throughout_its_timeout_has_as_many_attempts_as_begin_in_time(timeout: timedelta) -> None:
    policy = POLICIES.forward.retried_for(timeout)
    assert policy.attempt_timeout == policy.total == timeout
    assert pauses(policy) < timeout <= pauses(replace(policy, attempts=policy.attempts + 1))


def test_the_retry_policy_leaves_nothing_to_a_default() -> None:
    retries = POLICIES.forward.retry_policy
    assert retries.maximum_attempts == POLICIES.forward.attempts
    assert retries.initial_interval == POLICIES.forward.first_pause
    assert retries.maximum_interval == POLICIES.forward.longest_pause


def test_the_pauses_between_rounds_double_up_to_the_longest() -> None:
    rounds = Rounds(first_pause=10 * S, longest_pause=60 * S)
    assert [rounds.pause(n) for n in (1, 2, 3, 4, 5)] == [10 * S, 20 * S, 40 * S, 60 * S, 60 * S]


def test_the_pause_after_a_century_of_rounds_does_not_overflow() -> None:
    assert Rounds().pause(200_000) == Rounds().longest_pause


def test_an_undo_takes_the_request_of_what_it_undoes() -> None:
    hold = Operation("car.hold", Booking, Receipt, queue="car")
    with pytest.raises(TypeError, match=r"car\.release must take the request of car\.hold"):
        Operation[Any, Receipt]("car.release", str, Receipt, queue="car", undoes=hold)


def test_an_operation_and_its_undo_share_one_step_of_one_service() -> None:
    hold = Operation("car.hold", Booking, Receipt, queue="rentals")
    release = Operation("car.release", Booking, Receipt, queue="rentals", undoes=hold)
    assert (hold.step, release.step) == ("car.hold", "car.hold")
    assert (hold.service, release.service) == ("car", "car")


def pauses(policy: Policy) -> timedelta:
    """The pauses between the attempts of one round, as Temporal makes them."""
    each = [min(policy.first_pause * 2 ** min(n, 30), policy.longest_pause) for n in range(policy.attempts - 1)]
    return sum(each, timedelta())
