"""What all messages share: how a model behaves, the request and reply every operation builds on, the bounded types."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

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


class Message(BaseModel):
    """Frozen, and closed: an unknown field is an error, not a typo that passes."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


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
