"""What all messages share: how a model behaves, the request and reply every operation builds on, the bounded types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, StrictInt
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from saga import Operation

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


@dataclass(frozen=True)
class InWords:
    """Says in `words`, for a person, what a constrained type takes: pydantic would show the pattern."""

    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.custom_error_schema(
            handler(source), custom_error_type="in_words", custom_error_message=self.words
        )


_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_AN_ID = InWords("must be 1 to 64 letters (A to Z), digits, dots, dashes or underscores, a letter or digit first")

Id = Annotated[str, Field(pattern=_ID, max_length=64), _AN_ID]
"""An identifier that people choose: letters, digits, dot, dash, underscore."""
TransactionId = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)?$", max_length=128),
    InWords("must be an id, or two joined by a slash, of letters (A to Z), digits, dots, dashes or underscores"),
]
"""`order/<order id>` for an order; an `Id` for a transaction of a user's own. The slash keeps the two apart."""
WorkflowId = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=255),
    InWords("must be 1 to 255 letters (A to Z), digits, dots, dashes, underscores or slashes"),
]
Sku = Annotated[str, Field(pattern=_ID, max_length=64), _AN_ID]
Quantity = Annotated[int, Field(strict=True, ge=1, le=10_000)]
AmountMinor = Annotated[int, Field(strict=True, ge=0, le=10**15)]
"""Money in minor units (cents). The bound keeps any sum of a million of them inside 64 bits."""
Currency = Annotated[str, AfterValidator(_iso_4217)]

_PLAIN = r"[^\p{C}]"
"""Neither control character (C0, C1) nor what is invisible or turns the text around it (category Cf: zero-width
characters, bidirectional overrides), nor half a surrogate pair, private or unassigned. The line and paragraph
separators (U+2028, U+2029), which word processors write within a text, are space, and are shown as escapes."""
_VISIBLE = r"[[\p{L}\p{M}\p{N}\p{P}\p{S}]--[\p{Default_Ignorable_Code_Point}\u{2800}]]"
_JOINER = r"[\u{200c}\u{200d}]"
"""Zero-width joiner and non-joiner: Persian, the scripts of India and composed emoji are written with them. They are
taken between two characters, where they only shape these."""
TEXT_PATTERN = rf"^({_PLAIN}+{_JOINER})*{_PLAIN}*{_VISIBLE}{_PLAIN}*({_JOINER}{_PLAIN}+)*$"
_CHARACTERS = "with something to see in it, and without control or invisible characters"
Text = Annotated[
    str, Field(pattern=TEXT_PATTERN, max_length=200), InWords(f"must be text of 1 to 200 characters, {_CHARACTERS}")
]
"""Something to read, on one line. What it holds can be shown on any terminal (PostgreSQL stores no NUL)."""
Remark = Annotated[
    str, Field(pattern=TEXT_PATTERN, max_length=1000), InWords(f"must be text of 1 to 1000 characters, {_CHARACTERS}")
]
"""A `Text` long enough for a reason."""


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


def same(one: Message | None, other: Message) -> bool:
    """Whether both are one message: as two builds write it, one of which knows a field that the other does not."""
    return one == other or (one is not None and identity(one) == identity(other))


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

    attempt: StrictInt = 1


class ListOpen(Message):
    """Which transactions are not at an end here? In the order of their ids, `limit` at a time from `after` on."""

    after: str = ""
    limit: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 1000


class OpenTransactions(Reply):
    """Their ids as they are on record: one that no request could have is listed among the others."""

    transaction_ids: tuple[str, ...]


class Unreadable(Message):
    """A row that this version cannot read any more: whose it is, and what is wrong with it. The others are answered."""

    transaction_id: str
    problem: str


class Expired(Reply):
    """What has outlived its lease: `requests` are what was asked for when it was made, enough to undo it."""

    unreadable: tuple[Unreadable, ...] = ()


class Lease(NamedTuple):
    """How a service is asked what has outlived its lease, and how that is given back."""

    expired: Operation[ListOpen, Any]
    undo: Operation[Any, Any]
