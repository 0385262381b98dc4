"""What all messages share: how a model behaves, the request and reply every operation builds on, the bounded types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

_CURRENCIES = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY "
    "COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR "
    "ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK "
    "MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF "
    "SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU "
    "UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG"
)
"""ISO 4217, the codes of money in circulation."""
_CURRENCY_CODES = frozenset(_CURRENCIES.split())


def _iso_4217(code: str) -> str:
    if code not in _CURRENCY_CODES:
        raise ValueError("not an ISO 4217 currency code such as EUR")
    return code


_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

Id = Annotated[str, Field(pattern=_ID, max_length=64)]
"""An identifier that people choose: letters, digits, dot, dash, underscore."""
TransactionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)?$", max_length=128)]
"""`order/<order id>` for an order; an `Id` for a transaction of a user's own. The slash keeps the two apart."""
WorkflowId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=255)]
Sku = Annotated[str, Field(pattern=_ID, max_length=64)]
Quantity = Annotated[int, Field(strict=True, ge=1, le=10_000)]
AmountMinor = Annotated[int, Field(strict=True, ge=0, le=10**15)]
"""Money in minor units (cents). The bound keeps any sum of a million of them inside 64 bits."""
Currency = Annotated[str, AfterValidator(_iso_4217)]
Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$")]
"""Something to read, on one line: not blank, no control characters (PostgreSQL stores no NUL)."""


LEASE = timedelta(hours=2)
"""How long what is put aside for a transaction is good for without a workflow that looks after it: twice the longest
deadline an order may have. The sweep gives back what is older and belongs to nobody."""


@dataclass(frozen=True)
class _Added:
    """Marks a field that a message did not have from the beginning."""


T = TypeVar("T")
Added = Annotated[T, _Added()]
"""The type of a field that is added to a message: `gift: Added[bool] = False`.

An older build writes the message without it and passes it over when it reads. So it has a default, and it does not make
a request another one: `identity` leaves it out, and each build takes a repeated request for the same."""

WRITTEN = object()
"""The context of a validation of what people write, for checks that must not refuse what is under way already."""


class Message(BaseModel):
    """Frozen. A reader passes over fields that it does not know: a later build has added them. See `as_written`."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="ignore")


M = TypeVar("M", bound=BaseModel)


def as_written(model: type[M], document: Any) -> M:
    """`document` as a person wrote it: there a field that is not known is a typo, and an error.

    Raises `ValidationError`.
    """
    return model.model_validate(document, extra="forbid", context=WRITTEN)


def identity(message: Message) -> str:
    """JSON of all that makes a message itself: no field at its default, and none that was added later."""
    return message.model_dump_json(exclude_defaults=True, exclude=_added_to(type(message)))


def is_added(field: FieldInfo) -> bool:
    return any(isinstance(mark, _Added) for mark in field.metadata)


@cache
def _added_to(model: type[BaseModel]) -> dict[str, Any] | None:
    """The added fields of a model and of what is in it, as pydantic's `exclude`; `None` if there are none."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if is_added(field):
            found[name] = True
        elif within := [inner for part in _models_in(field.annotation) if (inner := _added_to(part))]:
            merged = {key: value for inner in within for key, value in inner.items()}
            found[name] = {"__all__": merged} if get_origin(field.annotation) is tuple else merged
    return found or None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


class Request(Message):
    """The transaction id travels through every service; with the operation's step it is the idempotency key."""

    transaction_id: TransactionId


class Reply(Message):
    """`attempt` is the one that answered, from 1."""

    attempt: int = 1


class ListOpen(Message):
    """Which transactions are not at an end here? In the order of their ids, `limit` at a time from `after` on."""

    after: str = ""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000


class OpenTransactions(Reply):
    transaction_ids: tuple[TransactionId, ...]
