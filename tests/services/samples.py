"""For every operation, requests to try the fence with. `test_fence` fails if an operation has none."""

from __future__ import annotations

from dataclasses import dataclass

from contracts import inventory, notification, order, payment, shipping
from contracts.errors import Code
from contracts.message import Request

from .bench import Call, Operations
from .requests import TX, charge, confirmation, creation, letter, parcel, purse, reservation, shelf

OTHER_TX = "order/o-2"


@dataclass(frozen=True)
class Refused:
    """A way to be refused with `code`; `cure` takes the reason away, where anything can."""

    code: Code
    request: Request
    before: tuple[Call, ...] = ()
    cure: tuple[Call, ...] = ()


@dataclass(frozen=True)
class Sample:
    """`request` is accepted after `before`. `other` has the same key and asks for something else."""

    operation: Operations
    request: Request
    other: Request
    refused: Refused
    before: tuple[Call, ...] = ()


_rich = Call(payment.set_account, purse(100_000))
_authorized = Call(payment.authorize, charge(1999))
_full = Call(inventory.set_stock, shelf("apple", 100))
_reserved = Call(inventory.reserve, reservation(apple=3))

_ALL = (
    Sample(
        order.create,
        creation(2),
        other=creation(3),
        refused=Refused(
            Code.DUPLICATE_ORDER, creation(2), before=(Call(order.create, creation(1, transaction_id=OTHER_TX)),)
        ),
    ),
    Sample(
        order.confirm,
        confirmation(),
        other=confirmation(order_id="o-9"),
        before=(Call(order.create, creation()),),
        refused=Refused(Code.NOTHING_TO_ACT_ON, confirmation(), cure=(Call(order.create, creation()),)),
    ),
    Sample(
        payment.authorize,
        charge(1999),
        other=charge(2000),
        before=(_rich,),
        refused=Refused(
            Code.INSUFFICIENT_FUNDS, charge(1999), before=(Call(payment.set_account, purse(10)),), cure=(_rich,)
        ),
    ),
    Sample(
        payment.capture,
        charge(1999),
        other=charge(2000),
        before=(_rich, _authorized),
        refused=Refused(Code.NOTHING_TO_ACT_ON, charge(1999), cure=(_rich, _authorized)),
    ),
    Sample(
        payment.set_account,
        purse(500, transaction_id=TX),
        other=purse(501, transaction_id=TX),
        refused=Refused(
            Code.INVALID_REQUEST,
            purse(500, transaction_id=TX),
            before=(_rich, Call(payment.authorize, charge(1999, OTHER_TX))),
            cure=(Call(payment.cancel, charge(1999, OTHER_TX)),),
        ),
    ),
    Sample(
        inventory.reserve,
        reservation(apple=3),
        other=reservation(apple=4),
        before=(_full,),
        refused=Refused(
            Code.OUT_OF_STOCK,
            reservation(apple=3),
            before=(Call(inventory.set_stock, shelf("apple", 2)),),
            cure=(_full,),
        ),
    ),
    Sample(
        inventory.commit,
        reservation(apple=3),
        other=reservation(apple=4),
        before=(_full, _reserved),
        refused=Refused(Code.NOTHING_TO_ACT_ON, reservation(apple=3), cure=(_full, _reserved)),
    ),
    Sample(
        inventory.set_stock,
        shelf("apple", 2, TX),
        other=shelf("apple", 3, TX),
        refused=Refused(
            Code.INVALID_REQUEST,
            shelf("apple", 2, TX),
            before=(_full, Call(inventory.reserve, reservation(OTHER_TX, apple=3))),
            cure=(Call(inventory.release, reservation(OTHER_TX, apple=3)),),
        ),
    ),
    Sample(
        shipping.schedule,
        parcel("DE"),
        other=parcel("FR"),
        refused=Refused(Code.SHIPPING_UNAVAILABLE, parcel("JP")),
    ),
    Sample(
        shipping.dispatch,
        parcel(),
        other=parcel("FR"),
        before=(Call(shipping.schedule, parcel()),),
        refused=Refused(Code.NOTHING_TO_ACT_ON, parcel(), cure=(Call(shipping.schedule, parcel()),)),
    ),
    Sample(
        notification.send_confirmation,
        letter(),
        other=letter(2000),
        refused=Refused(Code.NOTIFICATION_FAILED, letter(email="ada@nowhere.invalid")),
    ),
)

SAMPLES: dict[str, Sample] = {sample.operation.name: sample for sample in _ALL}
