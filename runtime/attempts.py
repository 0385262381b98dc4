"""A line in the log for each attempt at an operation, as the service saw it."""

import time
from typing import Any

import structlog
import temporalio.activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

_log = structlog.stdlib.get_logger("activities")


class LoggingInterceptor(Interceptor):
    """Interceptor that logs a line for each attempt at an operation, as the service saw it."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 — the SDK's name
        return _LoggedActivity(next)


class _LoggedActivity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 — the SDK's name
        info = temporalio.activity.info()
        log = _log.bind(
            transaction_id=transaction_id_of(input),
            step=info.activity_type,
            service=info.activity_type.partition(".")[0],
            attempt=info.attempt,
        )
        started = time.perf_counter()
        try:
            reply = await super().execute_activity(input)
        except ApplicationError as error:
            status = "REFUSED" if error.non_retryable else "FAILED"
            log.warning("operation", status=status, error_code=error.type, error=error.message)
            raise
        except Exception:
            log.exception("operation", status="FAILED")
            raise
        log.info("operation", status="DONE", milliseconds=round((time.perf_counter() - started) * 1000, 1))
        return reply


def transaction_id_of(call: ExecuteActivityInput) -> str:
    """The transaction of a request: for a batch the id of its workflow, for a query an empty string."""
    request = call.args[0] if call.args else None
    if isinstance(request, RawValue):
        return temporalio.activity.info().workflow_id or ""
    return str(request.get("transaction_id", "")) if isinstance(request, dict) else ""
