from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from .rig import Rig, rig


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """One system for all tests of this folder."""
    async with rig(tmp_path_factory.mktemp("rig")) as made:
        yield made
