"""Sample requests of the inventory service."""

from contracts import inventory
from contracts.errors import Code

from ..requests import TX, reservation, stock_level
from ..sample import OTHER_TX, Refused, Sample
from ..service_harness import Call

_full = Call(inventory.set_stock, stock_level("apple", 100))
_reserved = Call(inventory.reserve, reservation(apple=3))

SAMPLES = (
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
)
