"""Four eyes: a skip takes effect when a second person confirms it.

A worker loads it with `.venv/bin/python worker.py --interceptor examples.four_eyes:FourEyes`. It is an example of
authorization at the desk: a rule of your own goes where this one is, such as who may decide about which service.
"""

from dataclasses import replace
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError
from temporalio.worker import HandleUpdateInput, Interceptor, WorkflowInboundInterceptor, WorkflowInterceptorClassInput

from temporal_saga import Skip
from temporal_saga.workflow import DESK_REFUSED


class FourEyes(Interceptor):
    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return SkipsByTwo


class SkipsByTwo(WorkflowInboundInterceptor):
    """One for each workflow. What it remembers comes from the history, because the first skip is an accepted update."""

    def __init__(self, next: WorkflowInboundInterceptor) -> None:
        super().__init__(next)
        self._asked: dict[str, Skip] = {}
        self._skips = 0

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        """Refuse a decision before it is accepted. No history knows of it then, and a replay does not ask again."""
        if input.update == "desk_skip":
            step, skip = input.args
            first = self._asked.get(step)
            if first is not None and first.actor == skip.actor:
                raise _refused(f"{step}: {skip.actor} has asked already; the same skip by a second person confirms it")
        super().handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        """Take the first skip of a step as a question, which its sender is told, and the second as the answer."""
        if input.update != "desk_skip":
            return await super().handle_update_handler(input)
        self._skips += 1
        if not workflow.patched(f"four-eyes-{self._skips}"):  # it was accepted before this interceptor was there
            return await super().handle_update_handler(input)
        step, skip = input.args
        first = self._asked.pop(step, None)
        if first is None:
            self._asked[step] = skip
            raise _refused(f"{step}: {skip.actor} has asked; the same skip by a second person confirms it")
        input.args = [step, replace(skip, actor=f"{first.actor} and {skip.actor}")]
        return await super().handle_update_handler(input)


def _refused(message: str) -> ApplicationError:
    return ApplicationError(message, type=DESK_REFUSED, non_retryable=True)
