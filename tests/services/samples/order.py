"""Sample requests of the order service."""

from contracts import order
from contracts.errors import Code

from ..requests import confirmation, creation
from ..sample import OTHER_TX, Refused, Sample
from ..service_harness import Call

SAMPLES = (
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
)
