"""The two ways to cancel a saga: by the business's own update, and by Temporal's cancellation of the workflow."""

from collections.abc import Awaitable, Callable

import pytest

from .harness import Handle

Cancel = Callable[[Handle], Awaitable[None]]
REASON = "the children are ill"


async def by_business(handle: Handle) -> None:
    await handle.execute_update("cancel_saga", REASON)


async def by_temporal(handle: Handle) -> None:
    await handle.cancel(reason=REASON)


both_cancels = pytest.mark.parametrize("cancel", [by_business, by_temporal])
