"""Fixtures of the kernel's tests."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from temporal_saga import SEARCH_ATTRIBUTES, missing_search_attributes, visibility
from temporal_saga.testing import release_clock, start_server
from tests.eventually import eventually_async

from .harness import Harness
from .services import FakeServices
from .workflows import TripWorkflow

_servers: list[WorkflowEnvironment] = []
"""The server of this test worker, whose tests run one after the other: a new server costs more CPU than a test."""


@pytest.fixture(scope="session", autouse=True)
def stopped_server() -> Iterator[None]:
    """Stops the server at the end of this test worker: the end of its process does not always do so."""
    yield
    while _servers:
        asyncio.run(_servers.pop().shutdown())


@pytest.fixture
async def server() -> AsyncIterator[WorkflowEnvironment]:
    """A server that skips time. The next test of this test worker has the same."""
    if not _servers:
        _servers.append(await start_server(data_converter=pydantic_data_converter))
    yield _servers[0]
    await release_clock(_servers[0])


@pytest.fixture
async def bare_namespace(embedded: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A client of a namespace as a server makes it: without the search attributes of sagas."""
    monkeypatch.setattr(visibility, "_complete", set())
    name = f"bare-{uuid4()}"
    client = await Client.connect(embedded, namespace=name)
    retention = Duration(seconds=int(timedelta(days=1).total_seconds()))
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=retention)
    )

    async def is_known() -> bool:
        try:
            await client.count_workflows()
        except RPCError as error:
            assert error.status is RPCStatusCode.NOT_FOUND
            return False
        return True

    await eventually_async(is_known, "the namespace can be used")
    assert len(await missing_search_attributes(client)) == len(SEARCH_ATTRIBUTES)
    yield client


@pytest.fixture
def max_cached_workflows() -> int:
    """The size of a worker's cache. A module overrides it with 0 to replay every workflow task from history."""
    return 100


@pytest.fixture
def workflows(request: pytest.FixtureRequest) -> tuple[type, ...]:
    """The workflows of a worker: the whole plan, and those that the test's module holds or imports."""
    found = (each for each in vars(request.module).values() if hasattr(each, "__temporal_workflow_definition"))
    return tuple({TripWorkflow, *found})


@pytest.fixture
def single_batch() -> bool:
    """The order of a workflow task's jobs. A test for which it matters has the mark `both_orders`."""
    return False


@pytest.fixture
def services() -> FakeServices:
    """The services of a worker. A module whose operations are others overrides it."""
    return FakeServices()


@pytest.fixture
def idle_harness(
    server: WorkflowEnvironment,
    services: FakeServices,
    max_cached_workflows: int,
    workflows: tuple[type, ...],
    single_batch: bool,  # noqa: FBT001 — a fixture
) -> Harness:
    """A harness without a worker: the test starts and stops the workers."""
    return Harness(
        server, services, max_cached_workflows=max_cached_workflows, workflows=workflows, single_batch=single_batch
    )


@pytest.fixture
async def harness(idle_harness: Harness) -> AsyncIterator[Harness]:
    async with idle_harness.worker():
        yield idle_harness
