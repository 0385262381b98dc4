"""An operation for a list of requests: declared once for all operations, so that no list can differ from its single.

`payment.authorize.batch` takes what `payment.authorize` takes, some hundreds of times, in one local transaction; the
fence sees the same requests under the same keys. A request that is refused leaves the others alone.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field, StrictInt

from contracts.message import Message, Reply
from saga import Operation

SUFFIX = ".batch"
MAX_REQUESTS = 500
"""Of one list. Half a thousand orders share the cost of an activity until it is small against their own rows, and hold
a database's write lock for less than a tenth of an attempt's timeout."""

Asked = TypeVar("Asked", bound=Message)


class BatchRequest(Message, Generic[Asked]):
    requests: Annotated[tuple[Asked, ...], Field(min_length=1, max_length=MAX_REQUESTS)]


class RefusedRequest(Message):
    """The request at place `index` was refused."""

    index: Annotated[int, Field(strict=True, ge=0)]
    code: str
    message: str


class BatchReply(Reply):
    """How each request ended: those that are not named are done. Whole replies would be most of a history's bytes, and
    no process over many orders reads one."""

    count: StrictInt
    refused: tuple[RefusedRequest, ...] = ()


@cache
def batched(operation: Operation[Any, Any]) -> Operation[BatchRequest[Any], BatchReply]:
    """`operation` for a list of its requests, on the same queue."""
    return Operation(operation.name + SUFFIX, BatchRequest[operation.request], BatchReply, queue=operation.queue)  # type: ignore[name-defined]  # a type made from data
