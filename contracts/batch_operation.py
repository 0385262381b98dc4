"""An operation for many requests at once, declared once for all operations.

`payment.authorize.batch` takes hundreds of the requests that `payment.authorize` takes, and performs them in one local
transaction. The fence sees the same requests under the same keys. A refused request does not affect the others.
"""

from functools import cache
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field, StrictInt

from contracts.message import Message, Reply
from temporal_saga import Operation

SUFFIX = ".batch"
MAX_REQUESTS = 500
"""Limit on one batch. With 500 requests the cost of the activity is small against the cost of the rows, and the
transaction holds a database's write lock for less than a tenth of an attempt's timeout."""

RequestT = TypeVar("RequestT", bound=Message)


class BatchRequest(Message, Generic[RequestT]):
    requests: Annotated[tuple[RequestT, ...], Field(min_length=1, max_length=MAX_REQUESTS)]


class RefusedRequest(Message):
    """The request at place `index` was refused."""

    index: Annotated[int, Field(strict=True, ge=0)]
    code: str
    message: str


class BatchReply(Reply):
    """The refused requests of a batch; all others of its `count` requests are done.

    Whole replies are left out: they would be most of a history's bytes, and no workflow reads them.
    """

    count: StrictInt
    refused: tuple[RefusedRequest, ...] = ()


@cache
def batched(operation: Operation[Any, Any]) -> Operation[BatchRequest[Any], BatchReply]:
    """`operation` for a batch of its requests, on the same queue."""
    return Operation(operation.name + SUFFIX, BatchRequest[operation.request], BatchReply, queue=operation.queue)  # type: ignore[name-defined]  # a type made from data
