"""The address of the Web UI, and links into it.

Temporal does not know where its Web UI is. A namespace has data for such things, so the address is kept there, under
`web_ui`: the embedded server's worker writes it, and an operator does for any other server (docs/runbook.md).
"""

from urllib.parse import quote

from temporalio.api.namespace.v1 import UpdateNamespaceInfo
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from runtime.visible import visible

_KEY = "web_ui"
PARKED = 'SagaState="PARKED"'
"""Visibility query for every workflow with a parked call."""


async def keep_address(client: Client, address: str) -> None:
    """Write into the namespace where its Web UI is, such as `http://127.0.0.1:8233`."""
    info = UpdateNamespaceInfo(data={_KEY: address})
    await client.workflow_service.update_namespace(UpdateNamespaceRequest(namespace=client.namespace, update_info=info))


async def parked_link(client: Client) -> str | None:
    """The page that lists every workflow with a parked call; `None` if the Web UI's address is not known."""
    address = await _address(client)
    if address is None:
        return None
    return f"{address.rstrip('/')}/namespaces/{quote(client.namespace)}/workflows?query={quote(PARKED)}"


async def page_of(client: Client, workflow_id: str) -> str | None:
    """The page of a workflow; `None` as for `parked_link`."""
    address = await _address(client)
    if address is None:
        return None
    return f"{address.rstrip('/')}/namespaces/{quote(client.namespace)}/workflows/{quote(workflow_id, safe='')}"


async def _address(client: Client) -> str | None:
    request = DescribeNamespaceRequest(namespace=client.namespace)
    try:
        described = await client.workflow_service.describe_namespace(request)
    except RPCError as error:
        if error.status is not RPCStatusCode.PERMISSION_DENIED:
            raise
        return None
    return visible(described.namespace_info.data.get(_KEY, "")) or None
