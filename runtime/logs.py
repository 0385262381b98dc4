"""The one log, on stderr, of workflows, activities, the command line, the SDK's core and every library.

Every line has a UTC `timestamp`. A line about a call has `transaction_id`, `step`, `service`, `attempt` and `status`.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import temporalio.activity
import temporalio.workflow
from temporalio.exceptions import ApplicationError

from runtime.settings import LogFormat
from runtime.visible import visible

if TYPE_CHECKING:
    import structlog

CORE = logging.getLogger("temporalio.core")
"""The logger of the SDK's Rust core; see `connection`."""
ATTEMPTS = logging.getLogger("temporalio.activity")
"""The logger of the SDK that has a line for each failed attempt."""
_ONE_OUTAGE_S = 60
"""Time without a warning of the core after which the next one means another outage: the core retries every 10 s."""


def configure(log_format: LogFormat, level: int = logging.INFO) -> None:
    """Send every logger of this process through structlog to stderr."""
    _send_to(_structured(log_format), level)


def configure_late(log_format: LogFormat, level: int) -> None:
    """As `configure`, at the first line: most commands log none, and structlog takes a tenth of a second to import."""
    _send_to(_LateHandler(log_format), level)


class _LateHandler(logging.Handler):
    """Handler that makes the one of structlog when there is something to log."""

    def __init__(self, log_format: LogFormat) -> None:
        super().__init__()
        self._log_format = log_format
        self._made: logging.Handler | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self._made = self._made or _structured(self._log_format)
        self._made.handle(record)


def _structured(log_format: LogFormat) -> logging.Handler:
    """The handler of every line, and structlog's own loggers sent to it."""
    import structlog  # noqa: PLC0415 — see `configure_late`

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
    return handler


def _send_to(handler: logging.Handler, level: int) -> None:
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs the URL of each request, in which a token may be
    CORE.setLevel(logging.WARNING)
    CORE.filters.clear()
    ATTEMPTS.filters = [_is_news]
    # A line has the fields of its own call; by default the SDK adds those of the workflow or activity to it twice.
    temporalio.workflow.logger.workflow_info_on_message = temporalio.workflow.logger.workflow_info_on_extra = False
    temporalio.activity.logger.activity_info_on_message = temporalio.activity.logger.activity_info_on_extra = False
    # No line shows what Python would collect for these (docs.python.org/3/howto/logging.html#optimization).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of the SDK about an attempt says more than the line of `runtime.attempts` before it.

    It has the traceback of each refusal and each outage, and `runtime.attempts` has logged those in one line.
    """
    return record.exc_info is None or not isinstance(record.exc_info[1], ApplicationError)


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
