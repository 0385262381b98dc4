"""The one log, on stderr, of workflows, activities, the command line, the SDK's core and every library.

Every line has a UTC `timestamp`. A line about a call has `transaction_id`, `step`, `service`, `attempt` and `status`.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import structlog
import temporalio.activity
import temporalio.workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from runtime.settings import LogFormat
from runtime.visible import visible

CORE = logging.getLogger("temporalio.core")
"""The logger of the SDK's Rust core; see `connection`."""
_ONE_OUTAGE_S = 60
"""Time without a warning of the core after which the next one means another outage: the core retries every 10 s."""
_log = structlog.stdlib.get_logger("activities")


def configure(log_format: LogFormat, level: int = logging.INFO) -> None:
    """Send every logger of this process through structlog to stderr."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _drop_sdk_context,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderers: list[structlog.typing.Processor] = [structlog.processors.JSONRenderer()]
    if log_format is LogFormat.CONSOLE:
        renderers = [_make_visible, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=9)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs the URL of each request, in which a token may be
    CORE.setLevel(logging.WARNING)
    CORE.filters.clear()
    # A line has the fields of its own call; by default the SDK adds those of the workflow or activity to it twice.
    temporalio.workflow.logger.workflow_info_on_message = temporalio.workflow.logger.workflow_info_on_extra = False
    temporalio.activity.logger.activity_info_on_message = temporalio.activity.logger.activity_info_on_extra = False
    # No line shows what Python would collect for these (docs.python.org/3/howto/logging.html#optimization).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _make_visible(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape the text of a line for a terminal, because a line may quote what any client has sent."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = visible(value, keep="\n" if name == "exception" else "")
    return event


class _OutageFilter(logging.Filter):
    """Filter that replaces the core's warnings, one for each try of each waiting call, by one line for an outage."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell
        self._silent_at = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.WARNING:
            return True
        before, self._silent_at = self._silent_at, time.monotonic()
        if self._silent_at - before > _ONE_OUTAGE_S:
            self._tell("Temporal does not answer; what is under way goes on when it does, see `starter.py status`")
        return False


def tell_outages(tell: Callable[[str], None]) -> None:
    """Call `tell` with one line for each outage of Temporal, in place of the core's warnings."""
    CORE.addFilter(_OutageFilter(tell))


def _drop_sdk_context(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for name in ("temporal_workflow", "temporal_activity", "temporal_log"):
        event.pop(name, None)
    return event


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
