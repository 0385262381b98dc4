"""The base of all messages: the model, the request and reply of every operation, and the bounded types."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, StrictBool, StrictInt
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from temporal_saga import Operation

_CURRENCIES = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY "
    "COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR "
    "ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK "
    "MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF "
    "SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU "
    "UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG"
)
"""The codes of currencies in circulation (ISO 4217)."""
_CURRENCY_CODES = frozenset(_CURRENCIES.split())


def _iso_4217(code: str) -> str:
    if code not in _CURRENCY_CODES:
        raise ValueError("not an ISO 4217 currency code such as EUR")
    return code


@dataclass(frozen=True)
class InWords:
    """States in `words` what a constrained type accepts; pydantic would show a person the pattern."""

    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.custom_error_schema(
            handler(source), custom_error_type="in_words", custom_error_message=self.words
        )


_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_AN_ID = InWords("must be 1 to 64 letters (A to Z), digits, dots, dashes or underscores, a letter or digit first")

Id = Annotated[str, Field(pattern=_ID, max_length=64), _AN_ID]
"""An identifier that people choose."""
TransactionId = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)?$", max_length=128),
    InWords("must be an id, or two joined by a slash, of letters (A to Z), digits, dots, dashes or underscores"),
]
"""`order/<order id>` for an order, an `Id` for a generic transaction. The slash tells the two apart."""
WorkflowId = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=255),
    InWords("must be 1 to 255 letters (A to Z), digits, dots, dashes, underscores or slashes"),
]
Sku = Annotated[str, Field(pattern=_ID, max_length=64), _AN_ID]
Quantity = Annotated[int, Field(strict=True, ge=1, le=10_000)]
AmountMinor = Annotated[int, Field(strict=True, ge=0, le=10**15)]
"""Money in minor units (cents). The sum of a thousand amounts at the bound still fits into 64 bits."""
Currency = Annotated[str, AfterValidator(_iso_4217)]

_PLAIN = r"[^\p{C}]"
"""A character that is not a control character (C0, C1), not invisible and not one that reverses the text around it
(category Cf: zero-width characters, bidirectional overrides), not half a surrogate pair, not private and not
unassigned. The line and paragraph separators (U+2028, U+2029), which word processors write, count as space and are
shown as escapes."""
_VISIBLE = r"[[\p{L}\p{M}\p{N}\p{P}\p{S}]--[\p{Default_Ignorable_Code_Point}\u{2800}]]"
_JOINER = r"[\u{200c}\u{200d}]"
"""Zero-width joiner and non-joiner, which Persian, the scripts of India and composed emoji need. They are accepted
between two characters, where they only shape these."""
TEXT_PATTERN = rf"^({_PLAIN}+{_JOINER})*{_PLAIN}*{_VISIBLE}{_PLAIN}*({_JOINER}{_PLAIN}+)*$"
_CHARACTERS = "with something to see in it, and without control or invisible characters"
Text = Annotated[
    str, Field(pattern=TEXT_PATTERN, max_length=200), InWords(f"must be text of 1 to 200 characters, {_CHARACTERS}")
]
"""One line of text that any terminal can show and any database can store (PostgreSQL stores no NUL)."""
Remark = Annotated[
    str, Field(pattern=TEXT_PATTERN, max_length=1000), InWords(f"must be text of 1 to 1000 characters, {_CHARACTERS}")
]
"""A `Text` that is long enough for a reason."""


LEASE = timedelta(hours=2)
"""Life of a hold (a reservation, an authorization): twice the longest deadline of an order. The sweep undoes an older
hold if no workflow owns its transaction."""


@dataclass(frozen=True)
class _NotIdentifying:
    """Marks a field that `identity` leaves out."""


T = TypeVar("T")
NotIdentifying = Annotated[T, _NotIdentifying()]
"""The type of a field in which a repeated request may differ: `gift: NotIdentifying[bool] = False`. It has a default.

A field that is added to a request is one: an older build writes the request without it and ignores it when it reads,
and both builds must take a repeated request for the same one."""

WRITTEN = object()
"""Validation context of a document that a person has just written, for checks that a transaction under way skips."""


class Message(BaseModel):
    """A frozen model. Unknown fields are ignored, because a later build may have added them; see `as_written`.

    Its validator is built at the first use: a command imports a hundred messages and uses five.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="ignore", defer_build=True)


M = TypeVar("M", bound=BaseModel)


def as_written(model: type[M], document: Any) -> M:
    """Validate a document that a person wrote, in which an unknown field is a typo. Raises `ValidationError`."""
    return model.model_validate(document, extra="forbid", context=WRITTEN)


def identity(message: Message) -> str:
    """The JSON by which a message is compared: without fields at their default and `NotIdentifying` ones."""
    return message.model_dump_json(exclude_defaults=True, exclude=_not_identifying(type(message)))


def same(one: Message | None, other: Message) -> bool:
    """Whether both are the same message, perhaps written by two builds of which one knows a field more."""
    return one == other or (one is not None and identity(one) == identity(other))


def is_identifying(field: FieldInfo) -> bool:
    return not any(isinstance(mark, _NotIdentifying) for mark in field.metadata)


@cache
def _not_identifying(model: type[BaseModel]) -> dict[str, Any] | None:
    """The `NotIdentifying` fields of a model and of those in it, as pydantic's `exclude`; `None` if there are none."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if not is_identifying(field):
            found[name] = True
        elif within := [inner for part in _models_in(field.annotation) if (inner := _not_identifying(part))]:
            merged = {key: value for inner in within for key, value in inner.items()}
            found[name] = {"__all__": merged} if get_origin(field.annotation) is tuple else merged
    return found or None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


class Request(Message):
    """The base of every request that changes something."""

    transaction_id: TransactionId
    """Together with the step of the operation, the idempotency key at every service."""


class Reply(Message):
    """The base of every reply."""

    attempt: StrictInt = 1
    """The number of the attempt that answered, from 1."""
    repeated: Annotated[StrictBool, Field(exclude_if=lambda repeated: not repeated)] = False
    """The operation was done before: this is the reply that was kept then."""


class ListOpen(Message):
    """Query for the transactions that a service still holds something for: a page of `limit` ids after `after`."""

    after: str = ""
    limit: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 1000


class OpenTransactions(Reply):
    """The ids as they are on record, also one that no request could have."""

    transaction_ids: tuple[str, ...]


class Unreadable(Message):
    """A row that this build cannot read. It is reported beside the rows that can be read."""

    transaction_id: str
    problem: str


class Expired(Reply):
    """Holds whose lease is over. Subclasses add `requests`: the requests that made them, which their undo needs."""

    unreadable: tuple[Unreadable, ...] = ()


class Lease(NamedTuple):
    """The operations of a lease: the query for expired holds, and the undo of a hold."""

    expired: Operation[ListOpen, Any]
    undo: Operation[Any, Any]


class Facts(NamedTuple):
    """The names of a service's events in a choreographed order, in the past tense. They stay, as builds know them."""

    steps: Mapping[Operation[Any, Any], tuple[str, str]]
    """For each step of the service: it was done; it was refused, or its outcome is unknown."""
    ends: tuple[str, str]
    """The service has made all calls that follow the confirmation; that follow the cancellation."""
