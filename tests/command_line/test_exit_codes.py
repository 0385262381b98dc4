"""A client's error ends a command with one exit code, whichever command met it."""

import pytest

from cli import session
from client import errors
from client.errors import ClientError
from contracts.errors import Code
from runtime.commandline import Exit
from temporal_saga import Failure

NOT_ENDED = [errors.Paused("x"), errors.NotAnswered("x"), errors.ClosedFromOutside("x"), errors.LaneFull("x")]
UNREACHABLE = [errors.UnreadableOrder("x"), errors.Silent("order/o-1", Failure(Code.SERVICE_UNAVAILABLE, "x"))]
INVALID = [errors.DuplicateOrder("x"), errors.UnknownOrder("x"), errors.CancelRefused("x"), errors.DeskRefused("x")]
INVALID += [errors.OrderRetired("x"), errors.UnknownCustomer("x"), errors.OpenOrders("x")]


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        *((error, Exit.NOT_ENDED) for error in NOT_ENDED),
        *((error, Exit.UNREACHABLE) for error in UNREACHABLE),
        *((error, Exit.INVALID) for error in INVALID),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ClientError) else value.name,
)
def test_an_error_of_the_client_ends_the_command_with_its_code(error: ClientError, exit_code: Exit) -> None:
    failed = session.failed(error)
    assert (failed.code, failed.message, failed.exit_code) == (error.code, error.message, exit_code)
