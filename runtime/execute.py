"""Calls one operation of one service from outside any workflow: stock and accounts, and what is on record."""

from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

from pydantic import ValidationError
from temporalio.client import ActivityFailureError, Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from contracts.errors import Code
from contracts.problems import first_problem
from temporal_saga import Operation

Request = TypeVar("Request")
Reply = TypeVar("Reply")

_ATTEMPT_TIMEOUT = timedelta(seconds=5)
_TOTAL = timedelta(seconds=15)
"""Limit on the wait for a worker to take the call: a person is waiting for the answer."""
_RETRIES = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_attempts=6)
"""They outlast six seconds of trouble; a service where a fifth of all attempts fails nearly always answers."""


class OperationFailed(Exception):
    """The service said no (`code` is its code), or did not answer (UNREACHABLE)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


async def execute(
    client: Client,
    operation: Operation[Request, Reply],
    request: Request,
    *,
    attempt_timeout: timedelta = _ATTEMPT_TIMEOUT,
) -> Reply:
    """Have the service behind `operation` perform it, and return its reply. Raises `OperationFailed`."""
    try:
        reply: Reply = await client.execute_activity(
            operation.name,
            request,
            id=f"{operation.name}/{uuid4()}",
            task_queue=operation.queue,
            result_type=operation.reply,
            start_to_close_timeout=attempt_timeout,
            schedule_to_start_timeout=_TOTAL,
            schedule_to_close_timeout=attempt_timeout + _TOTAL,
            retry_policy=_RETRIES,
        )
    except ActivityFailureError as error:
        cause = error.cause
        if isinstance(cause, ApplicationError):
            raise OperationFailed(cause.type or Code.SERVICE_UNAVAILABLE, cause.message) from error
        message = f"no worker of the {operation.service} service answered within {_TOTAL.total_seconds():g} s"
        raise OperationFailed(Code.UNREACHABLE, f"{message}; start `worker.py --service {operation.queue}`") from error
    except ValidationError as error:
        message = f"{operation.name} has answered in a form that this build does not know: {first_problem(error)}"
        raise OperationFailed(Code.UNREADABLE_REPLY, message) from None
    return reply
