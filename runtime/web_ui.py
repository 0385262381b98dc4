"""The address of Temporal's Web UI. It is kept in the data of the namespace, so that every client knows it.

The embedded server writes it there; for any other, an administrator does (docs/runbook.md).
"""

from __future__ import annotations

from urllib.parse import quote

from temporalio.api.namespace.v1 import UpdateNamespaceInfo
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

_KEY = "web_ui"


async def announce(client: Client, address: str) -> None:
    """Write the address, such as `http://127.0.0.1:8233`, into the data of the client's namespace."""
    data = UpdateNamespaceInfo(data={_KEY: address})
    request = UpdateNamespaceRequest(namespace=client.namespace, update_info=data)
    await client.workflow_service.update_namespace(request, retry=True)


async def page_of(client: Client, workflow_id: str) -> str | None:
    """The address of a workflow's page; `None` if it is not known, or the client may not read the namespace."""
    request = DescribeNamespaceRequest(namespace=client.namespace)
    try:
        answer = await client.workflow_service.describe_namespace(request, retry=True)
    except RPCError as error:
        if error.status is not RPCStatusCode.PERMISSION_DENIED:
            raise
        return None
    address = answer.namespace_info.data.get(_KEY, "").rstrip("/")
    namespace = quote(client.namespace, safe="")
    return f"{address}/namespaces/{namespace}/workflows/{quote(workflow_id, safe='')}" if address else None
