"""A Temporal server of the tests' own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from runtime import embedded
from runtime.embedded import EmbeddedServer, embedded_server, free_port

_WITHOUT_PAUSES = {
    "history.transferProcessorUpdateAckInterval": '"50ms"',  # a deletion waits for it; 30 s by default
    "history.workflowIdReuseMinimalInterval": '"0s"',  # a run that follows another: of the same id, continued as new
}


@asynccontextmanager
async def server_without_pauses(folder: Path) -> AsyncIterator[EmbeddedServer]:
    """The embedded server with its state in `folder`; it deletes a workflow, and starts it again, at once."""
    async with AsyncExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:  # while the server starts, and for no other test
            for name, value in _WITHOUT_PAUSES.items():
                patch.setitem(embedded._TUNING, name, value)
            starting = embedded_server(port=free_port(), ui_port=free_port(), data=folder)
            server = await stack.enter_async_context(starting)
        yield server
