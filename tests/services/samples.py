"""Sample requests of every operation for the tests of the fence. `test_fence` fails if an operation has none."""

from __future__ import annotations

from dataclasses import dataclass

from contracts import inventory, notification, order, payment, shipping
from contracts.errors import Code
from contracts.message import Request

from .requests import TX, balance, charge, confirmation, creation, notice, reservation, shipment, stock_level
from .service_harness import Call, Operations

OTHER_TX = "order/o-2"


@dataclass(frozen=True)
class Refused:
    """A request that is refused with `code` after `before`; `remedy` removes the reason, if anything can."""

    code: Code
    request: Request
    before: tuple[Call, ...] = ()
    remedy: tuple[Call, ...] = ()


@dataclass(frozen=True)
class Sample:
    """A request that is accepted after `before`, and another request under the same key."""

    operation: Operations
    request: Request
    other: Request
    refused: Refused
    before: tuple[Call, ...] = ()


_rich = Call(payment.set_account, balance(100_000))
_authorized = Call(payment.authorize, charge(1999))
_full = Call(inventory.set_stock, stock_level("apple", 100))
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
        refused=Refused(Code.NOTHING_TO_ACT_ON, confirmation(), remedy=(Call(order.create, creation()),)),
    ),
    Sample(
        payment.authorize,
        charge(1999),
        other=charge(2000),
        before=(_rich,),
        refused=Refused(
            Code.INSUFFICIENT_FUNDS, charge(1999), before=(Call(payment.set_account, balance(10)),), remedy=(_rich,)
        ),
    ),
    Sample(
        payment.capture,
        charge(1999),
        other=charge(2000),
        before=(_rich, _authorized),
        refused=Refused(Code.NOTHING_TO_ACT_ON, charge(1999), remedy=(_rich, _authorized)),
    ),
    Sample(
        payment.set_account,
        balance(500, transaction_id=TX),
        other=balance(501, transaction_id=TX),
        refused=Refused(
            Code.INVALID_REQUEST,
            balance(500, transaction_id=TX),
            before=(_rich, Call(payment.authorize, charge(1999, OTHER_TX))),
            remedy=(Call(payment.cancel, charge(1999, OTHER_TX)),),
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
            before=(Call(inventory.set_stock, stock_level("apple", 2)),),
            remedy=(_full,),
        ),
    ),
    Sample(
        inventory.commit,
        reservation(apple=3),
        other=reservation(apple=4),
        before=(_full, _reserved),
        refused=Refused(Code.NOTHING_TO_ACT_ON, reservation(apple=3), remedy=(_full, _reserved)),
    ),
    Sample(
        inventory.set_stock,
        stock_level("apple", 2, TX),
        other=stock_level("apple", 3, TX),
        refused=Refused(
            Code.INVALID_REQUEST,
            stock_level("apple", 2, TX),
            before=(_full, Call(inventory.reserve, reservation(OTHER_TX, apple=3))),
            remedy=(Call(inventory.release, reservation(OTHER_TX, apple=3)),),
        ),
    ),
    Sample(
        shipping.schedule,
        shipment("DE"),
        other=shipment("FR"),
        refused=Refused(Code.SHIPPING_UNAVAILABLE, shipment("JP")),
    ),
    Sample(
        shipping.dispatch,
        shipment(),
        other=shipment("FR"),
        before=(Call(shipping.schedule, shipment()),),
        refused=Refused(Code.NOTHING_TO_ACT_ON, shipment(), remedy=(Call(shipping.schedule, shipment()),)),
    ),
    Sample(
        notification.send_confirmation,
        notice(),
        other=notice(2000),
        refused=Refused(Code.NOTIFICATION_FAILED, notice(email="ada@nowhere.invalid")),
    ),
)

SAMPLES: dict[str, Sample] = {sample.operation.name: sample for sample in _ALL}
