"""Personal data of one customer: what it is in a message, and the operations that replace it in the databases.

Personal data are names, addresses, e-mail addresses and phone numbers: the fields of `Address`, but its country, and of
`Contact`. Ids, amounts, goods and countries are none. A customer's id must not be a name.
"""

from typing import Annotated, Any, TypeVar, get_args

from pydantic import AwareDatetime, BaseModel, Field, StrictBool, StrictInt

from contracts.catalogue import SERVICES
from contracts.message import Id, Message, Remark, Reply
from contracts.order import Address, Contact
from contracts.retention import MAX_BATCH
from temporal_saga import Operation

ERASED = "erased"
_ERASED_CONTACT = {"email": "erased@erased.invalid", "phone": "+10000000"}
"""Valid values that reach nobody: the domain cannot exist (RFC 2606), and no country has so short a number."""
_PERSONAL: tuple[type[BaseModel], ...] = (Address, Contact)
M = TypeVar("M", bound=BaseModel)


def without_personal_data(message: M) -> M:
    """`message` with placeholders in place of personal data; it stays valid."""
    if isinstance(message, Contact):
        return message.model_copy(update=_ERASED_CONTACT)
    if isinstance(message, Address):
        texts = dict.fromkeys(("name", "street", "city"), ERASED)
        return message.model_copy(update=texts | ({"postcode": ERASED} if message.postcode is not None else {}))
    inner = {name: without_personal_data(value) for name, value in message if isinstance(value, BaseModel)}
    return message.model_copy(update=inner)


def has_personal_data(annotation: Any) -> bool:
    """Whether a value of this type has personal data in it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields.values()
        return issubclass(annotation, _PERSONAL) or any(has_personal_data(field.annotation) for field in fields)
    return any(map(has_personal_data, get_args(annotation)))


class FindCustomer(Message):
    """Query for the transactions of a customer among the next `rows` rows after the transaction `after`.

    A page is a number of rows, because no index finds those of one customer: each question takes a bounded time.
    """

    customer_id: Id
    after: str = ""
    rows: Annotated[int, Field(strict=True, ge=1, le=50_000)] = 20_000


class CustomerFound(Reply):
    is_known: StrictBool
    """Whether a row of the page, or an account, names the customer."""
    transaction_ids: tuple[str, ...]
    next: str | None = None
    """The transaction after which the next page begins; `None` after the last page."""


class EraseCustomer(Message):
    """Replace the personal data in all rows of these transactions of a customer. Repeating it is harmless.

    The order service also records who asked for it, why and when.
    """

    customer_id: Id
    transaction_ids: Annotated[tuple[str, ...], Field(max_length=MAX_BATCH)]
    total: StrictInt
    """The number of the customer's transactions, in all requests of this erasure."""
    actor: Remark
    reason: Remark
    at: AwareDatetime


class CustomerErased(Reply):
    rows: StrictInt
    """The number of rows with personal data that were replaced."""


FIND: dict[str, Operation[FindCustomer, CustomerFound]] = {
    service.QUEUE: Operation(f"{service.QUEUE}.find_customer", FindCustomer, CustomerFound, queue=service.QUEUE)
    for service in SERVICES
}
ERASE: dict[str, Operation[EraseCustomer, CustomerErased]] = {
    service.QUEUE: Operation(f"{service.QUEUE}.erase_customer", EraseCustomer, CustomerErased, queue=service.QUEUE)
    for service in SERVICES
}
