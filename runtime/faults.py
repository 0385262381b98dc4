"""Fault injection between Temporal and the operations, outside the services.

A rate and a seed make a share of all attempts fail. The same attempts fail when a run is repeated, because the draw
depends on the seed, the transaction, the operation and the attempt, and not on the time. A TOML file names single
faults:

    [[fault]]
    operation = "payment.authorize"   # a pattern: `payment.*`, `*`; batches included; `*.batch`: only batches
    transaction = "order/o-7"         # a pattern; default: every transaction
    kind = "error_after"              # see FaultKind
    attempts = 1                      # the first N attempts of the activity; default: all
    seconds = 2.5                     # length of a delay
    code = "SHIPPING_UNAVAILABLE"     # code of a refusal
    rate = 0.1                        # the share of matching attempts; default: all
"""

import asyncio
import json
import os
import random
import signal
import tomllib
from collections.abc import Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import structlog
from pydantic import Field, ValidationError
from temporalio import activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from contracts import lane, recovery
from contracts.batch_operation import SUFFIX
from contracts.catalogue import OPERATIONS
from contracts.choreography import PUBLISHING
from contracts.erasure import ERASE, FIND
from contracts.errors import Code
from contracts.message import Message, as_written
from contracts.problems import first_problem
from contracts.retention import LIST_OLD, RETIRE
from runtime.attempts import transaction_id_of
from runtime.reading import Unreadable, read_text
from runtime.settings import SettingsError

_log = structlog.stdlib.get_logger("faults")
_MAX_BYTES = 1_000_000
"""Limit of a file of faults, which is some ten thousand of them."""
_SERVED = {
    *(name + suffix for name in OPERATIONS for suffix in ("", SUFFIX)),
    *(each.name for declared in (PUBLISHING, LIST_OLD, RETIRE, FIND, ERASE) for each in declared.values()),
    recovery.sweep.name,
    lane.await_close.name,
}
"""Every operation that a worker of this project serves. A fault of no other can strike."""
HANG_S = 3600.0
"""Time that is longer than any step's timeout, so that Temporal gives the attempt up and cancels it."""


class FaultKind(StrEnum):
    """The fault of an attempt. *After* means after the operation's commit, so that only the reply is lost."""

    ERROR_BEFORE = "error_before"
    ERROR_AFTER = "error_after"
    DELAY = "delay"
    HANG = "hang"
    HANG_AFTER = "hang_after"
    DIE_BEFORE = "die_before"
    DIE_AFTER = "die_after"
    REFUSE = "refuse"


class Fault(Message):
    operation: str
    transaction: str = "*"
    kind: FaultKind
    attempts: Annotated[int, Field(strict=True, ge=1)] | None = None
    seconds: Annotated[float, Field(strict=True, ge=0, le=HANG_S)] = 1.0
    code: Code = Code.SERVICE_UNAVAILABLE
    rate: Annotated[float, Field(strict=True, ge=0, le=1)] = 1.0

    def strikes(self, transactions: list[str], info: activity.Info, seed: int) -> bool:
        """Whether the fault strikes an attempt at `transactions`.

        A batch is one attempt with one draw: its first transaction is the batch's own name, and a fault of any of the
        others strikes all of them.
        """
        return (
            any(
                fnmatchcase(name, self.operation)
                for name in (info.activity_type, info.activity_type.removesuffix(SUFFIX))
            )
            and any(fnmatchcase(transaction, self.transaction) for transaction in transactions)
            and (self.attempts is None or info.attempt <= self.attempts)
            and _draw(seed, self.kind, transactions[0], info) < self.rate
        )


class FaultFile(Message):
    fault: tuple[Fault, ...] = ()


def random_faults(rate: float) -> list[Fault]:
    """Faults that make a share `rate` of all attempts of a saga fail, half before the operation and half after it."""
    # The second fault is drawn only if the first does not strike, so its own rate is a little higher.
    half = rate / 2
    before = Fault(operation="*", transaction="?*", kind=FaultKind.ERROR_BEFORE, rate=half)
    after = Fault(operation="*", transaction="?*", kind=FaultKind.ERROR_AFTER, rate=half / (1 - half))
    return [before, after]


def read_faults(path: Path) -> list[Fault]:
    """The faults in a TOML file. Raises `SettingsError`."""
    try:
        faults = list(as_written(FaultFile, tomllib.loads(read_text(str(path), _MAX_BYTES))).fault)
    except Unreadable as error:
        raise SettingsError(f"--faults {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"--faults {path}: not TOML: {error}") from error
    except ValidationError as error:
        raise SettingsError(f"--faults {path}: {first_problem(error)}") from error
    for number, fault in enumerate(faults):
        if not any(fnmatchcase(name, fault.operation) for name in _SERVED):
            problem = f"{fault.operation} matches no operation; docs/operations.md lists them"
            raise SettingsError(f"--faults {path}: fault.{number}.operation: {problem}")
    return faults


class FaultInterceptor(Interceptor):
    """Interceptor that injects the faults; the operations cannot tell them from real ones."""

    def __init__(self, faults: Sequence[Fault], seed: int = 0) -> None:
        self._faults = faults
        self._seed = seed

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 — the SDK's name
        return _FaultyActivity(next, self._faults, self._seed)


class _FaultyActivity(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, faults: Sequence[Fault], seed: int) -> None:  # noqa: A002
        super().__init__(next)
        self._faults = faults
        self._seed = seed

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 — the SDK's name
        transactions, info = [transaction_id_of(input), *_listed(input)], activity.info()
        striking = (fault for fault in self._faults if fault.strikes(transactions, info, self._seed))
        fault = next(striking, None)
        if fault is None:
            return await super().execute_activity(input)
        _log.info(
            "fault", kind=fault.kind, transaction_id=transactions[0], step=info.activity_type, attempt=info.attempt
        )
        match fault.kind:
            case FaultKind.ERROR_BEFORE:
                raise ApplicationError("injected: the service is down", type=Code.SERVICE_UNAVAILABLE)
            case FaultKind.REFUSE:
                raise ApplicationError(
                    "injected: the service says no", info.attempt, type=fault.code, non_retryable=True
                )
            case FaultKind.DELAY:
                await asyncio.sleep(fault.seconds)
            case FaultKind.HANG:
                await asyncio.sleep(HANG_S)
            case FaultKind.DIE_BEFORE:
                _die()
        reply = await super().execute_activity(input)
        match fault.kind:
            case FaultKind.ERROR_AFTER:
                raise ApplicationError("injected: the reply is lost", type=Code.SERVICE_UNAVAILABLE)
            case FaultKind.HANG_AFTER:
                await asyncio.sleep(HANG_S)
            case FaultKind.DIE_AFTER:
                _die()
        return reply


def _die() -> None:
    """End the process as a kill -9 or a power cut does: nothing is flushed and no handler runs."""
    os.kill(os.getpid(), signal.SIGKILL)


def _listed(call: ExecuteActivityInput) -> list[str]:
    """The transactions of a batch."""
    if not call.args or not isinstance(call.args[0], RawValue):
        return []
    return [request["transaction_id"] for request in json.loads(call.args[0].payload.data)["requests"]]


def _draw(seed: int, kind: FaultKind, transaction_id: str, info: activity.Info) -> float:
    return random.Random(f"{seed}/{kind}/{transaction_id}/{info.activity_type}/{info.attempt}").random()  # noqa: S311 — repeatable on purpose
