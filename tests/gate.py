"""A gate for activities of services in memory."""

import asyncio


class Gate:
    """Holds a call until the test opens it. A call that hangs for good would keep the server from skipping time."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self.left = asyncio.Event()
        """Set by a call when it is over, if it says so."""

    async def __call__(self) -> None:
        self.reached.set()
        await self.open.wait()
