"""Checks of a workflow's input: any client can start a workflow, with any document and under any id."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from contracts.errors import Code
from contracts.problems import first_problem

Model = TypeVar("Model", bound=BaseModel)


def parse_input(model: type[Model], document: Any, code: Code) -> Model:
    """Return `document` as a `model`. Raises an `ApplicationError` with `code`, which ends the workflow."""
    try:
        return model.model_validate(document)
    except ValidationError as error:  # not the cause: it would write the customer's data into the history
        raise ApplicationError(first_problem(error), type=code, non_retryable=True) from None


def check_workflow_id(expected: str, code: Code, rule: str) -> None:
    """Raise an `ApplicationError` with `code` unless the workflow runs under the id `expected`, as `rule` says."""
    if workflow.info().workflow_id != expected:
        raise ApplicationError(f"workflow id must be {expected}: {rule}", type=code, non_retryable=True)
