"""The search attributes of sagas: what they say, how a namespace gets them, and what happens where it lacks them.

A server refuses a workflow task that writes an attribute which its namespace does not have, and would refuse it again
for ever. So a saga writes them only where a worker with the `SagaPlugin` has found all of them. The history has a
marker for each write that was left out: a replay by a worker that has found them leaves it out too.
"""

import logging
from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate
from temporalio.service import RPCError, RPCStatusCode

SAGA_STATE = SearchAttributeKey.for_keyword("SagaState")
"""Written when the state first leaves RUNNING, except for CONFIRMED: a workflow without it is RUNNING, or has COMPLETED
and is CONFIRMED."""
SAGA_ERROR_CODE = SearchAttributeKey.for_keyword("SagaErrorCode")
"""Why the saga was rolled back, or is being rolled back."""
SAGA_PARKED_SINCE = SearchAttributeKey.for_datetime("SagaParkedSince")
"""Since when a call is parked; unset when no call is."""
SAGA_ORDER = SearchAttributeKey.for_keyword("SagaOrder")
"""The order of the saga, where a saga has several workflows. The client sets it when it starts them."""
SAGA_DECIDED_AT = SearchAttributeKey.for_datetime("SagaDecidedAt")
"""When an operator last decided about a parked call of the saga; unset if none ever did."""
SEARCH_ATTRIBUTES = (SAGA_STATE, SAGA_ERROR_CODE, SAGA_PARKED_SINCE, SAGA_ORDER, SAGA_DECIDED_AT)

_TYPES = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "Datetime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
}
_complete: set[str] = set()
"""The namespaces in which a worker of this process has found all search attributes."""
_log = logging.getLogger(__name__)


async def register_search_attributes(client: Client) -> None:
    """Register the search attributes in the client's namespace. Does nothing if an administrator has done it."""
    wanted = {key.name: _TYPES[key.indexed_value_type.name.title()] for key in SEARCH_ATTRIBUTES}
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=wanted)
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        if error.status not in (RPCStatusCode.ALREADY_EXISTS, RPCStatusCode.PERMISSION_DENIED):
            raise
        _log.debug("search attributes: %s", error.message)


async def missing_search_attributes(client: Client) -> list[str]:
    """The names of those that the client's namespace does not have.

    The SDK's time-skipping test server cannot list them: it gets all of them here, and lacks none.
    """
    request = ListSearchAttributesRequest(namespace=client.namespace)
    try:
        found = await client.operator_service.list_search_attributes(request, retry=True)
    except RPCError as error:
        if error.status is not RPCStatusCode.UNIMPLEMENTED:
            raise
        await register_search_attributes(client)
        return []
    return [key.name for key in SEARCH_ATTRIBUTES if key.name not in found.custom_attributes]


async def look_for_search_attributes(client: Client) -> None:
    """Find out whether the sagas of this process can write them, and log a warning if not."""
    try:
        missing = await missing_search_attributes(client)
    except RPCError as error:
        missing = [f"that cannot be listed: {error.message}"]
    if not missing:
        _complete.add(client.namespace)
        return
    _complete.discard(client.namespace)
    _log.warning(
        "namespace %s lacks search attributes (%s): sagas run, but no list shows their state and the desk finds none "
        "that is parked. Run `python -m temporal_saga register` once, and start the worker again",
        client.namespace,
        ", ".join(missing),
    )


def upsert(updates: Sequence[SearchAttributeUpdate[Any]], write: int | str) -> None:
    """Write `updates` from within a workflow if its namespace has the attributes. `write` tells its writes apart."""
    marker = f"search-attributes-missing/{write}"
    if workflow.unsafe.is_replaying():
        if workflow.patched(marker):
            return
    elif workflow.info().namespace not in _complete:
        workflow.patched(marker)
        return
    workflow.upsert_search_attributes(updates)
