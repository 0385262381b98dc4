"""Sample requests of the shipping service."""

from contracts import shipping
from contracts.errors import Code

from ..requests import shipment
from ..sample import Refused, Sample
from ..service_harness import Call

SAMPLES = (
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
)
