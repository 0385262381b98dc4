"""The crash matrix, third part: the worker of a service dies during a step or an undo, or after its commit.

Each worker is killed (SIGKILL) once at each step, and started again as in production.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contracts.catalogue import OPERATIONS, QUEUES

from ..orders import BOUNCES, REQUIRED
from .conftest import Make
from .fleet import Fleet
from .steps import Steps
from .system import System

pytestmark = [pytest.mark.xdist_group("deaths"), pytest.mark.timeout(300)]  # the machine may be slow to start workers

_ROUNDS = 4
"""Limit on the rounds: one is enough, unless the deaths of other workers roll an order back before its step."""


@dataclass(frozen=True)
class Deaths:
    """The operations at which each worker has still to die; those that have happened are left out of its next start."""

    folder: Path
    kind: str

    def options(self, worker: str) -> list[str]:
        faults = self.folder / f"{worker}.toml"
        faults.write_text(
            "".join(
                f'[[fault]]\ntransaction = "order/*-{name}"\noperation = "{name}"\nkind = "{self.kind}"\n'
                for name, operation in OPERATIONS.items()
                if operation.queue == worker and name not in self.died_of(worker)
            )
        )
        return ["--service", worker, "--faults", str(faults)]

    def died_of(self, *workers: str) -> set[str]:
        logs = [self.folder / f"{name}.log" for name in workers]
        return {line["step"] for log in logs for line in Fleet.lines_of(log) if line["event"] == "fault"}


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["die_after", "die_before"])
async def test_an_order_survives_the_death_of_the_worker_at_any_step(kind: str, tmp_path: Path, order: Make) -> None:
    deaths = Deaths(tmp_path, kind)
    async with Fleet(System(tmp_path), QUEUES, deaths.options) as fleet:
        await fleet.start_workers()
        await fleet.fill_the_shelves()
        confirmed = await fleet.run("place", "-", "--json", stdin=json.dumps(order(**REQUIRED)))
        rolled_back = await fleet.run("place", "-", "--json", stdin=json.dumps(order(**BOUNCES)))
        steps = Steps.read(confirmed.document, rolled_back.document)
        for _ in range(_ROUNDS):
            alive = set(steps) - deaths.died_of(*QUEUES)
            if alive:
                await _place(fleet, [order(name, **_changes(steps, name)) for name in sorted(alive)])
        assert deaths.died_of(*QUEUES) == set(steps)
        audit = await fleet.run("audit", "--json")
        assert audit.code == 0, audit.out
        assert (await fleet.run("sweep", "--json")).document["found"] == 0


def _changes(steps: Steps, name: str) -> dict[str, Any]:
    return BOUNCES if name in steps.undos else REQUIRED


async def _place(fleet: Fleet, orders: list[dict[str, Any]]) -> None:
    """Place the orders and wait for their ends: confirmed or rolled back, never confirmed if the contact bounces."""
    lines = "\n".join(map(json.dumps, orders))
    arguments = ["bulk", "-", "--concurrency", "50", "--json", "--outcomes"]
    answer = await fleet.run(*arguments, stdin=lines)
    for _ in range(_ROUNDS):
        if answer.code == 0:
            break
        await fleet.run("desk", "retry", "--all")  # what is parked goes through now that the worker is back
        answer = await fleet.run(*arguments, stdin=lines)
    assert answer.code == 0, answer.err
    may_confirm = {placed["order_id"] for placed in orders if placed["contact"] != BOUNCES["contact"]}
    ends = {outcome["order_id"]: outcome["state"] for outcome in answer.document["outcomes"]}
    assert set(ends.values()) <= {"CONFIRMED", "ROLLED_BACK"}
    assert {order_id for order_id, state in ends.items() if state == "CONFIRMED"} <= may_confirm
