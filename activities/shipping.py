"""The shipping service: books a simulated courier, which delivers to the countries of `SERVED` only."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sqlalchemy import MetaData

from activities.definition import Leaves, ServiceDefinition, implements, lists_open
from activities.fence import Decision, RefusedDecision, declare_fence
from activities.records import Record, Ref, UnitOfWork, effects_table, record
from contracts import shipping
from contracts.errors import Code
from contracts.shipping import ScheduleShipment, ShipmentRecorded, ShipmentState

metadata = MetaData()
Fence = declare_fence(metadata)
effects_table(metadata)

_COUNTRIES = "AE AT BE CH CZ DE DK ES FI FR GB HK IE IT LU NL NO PL PT SE US"
SERVED = frozenset(_COUNTRIES.split())
"""The countries that the courier delivers to."""


@record(metadata, "shipments", key=("transaction_id",))
@dataclass(frozen=True)
class Shipment(Record):
    transaction_id: str
    order_id: str
    tracking_code: str
    country: str
    state: ShipmentState

    def answer(self) -> ShipmentRecorded:
        return ShipmentRecorded(tracking_code=self.tracking_code, state=self.state)


def _shipment_of(request: ScheduleShipment) -> Iterable[Ref]:
    return [Ref(Shipment, (request.transaction_id,))]


def _tracking_code(transaction_id: str) -> str:
    return "TRK-" + hashlib.sha256(transaction_id.encode()).hexdigest()[:12].upper()


@implements(shipping.schedule, touches=_shipment_of)
def schedule(uow: UnitOfWork, request: ScheduleShipment) -> Decision[ShipmentRecorded]:  # noqa: ARG001 — every decision has this signature
    country = request.ship_to.country
    if country not in SERVED:
        raise RefusedDecision(Code.SHIPPING_UNAVAILABLE, f"the courier does not deliver to {country}")
    shipment = Shipment(
        transaction_id=request.transaction_id,
        order_id=request.order_id,
        tracking_code=_tracking_code(request.transaction_id),
        country=country,
        state=ShipmentState.SCHEDULED,
    )
    return Decision(shipment.answer(), [shipment])


@implements(shipping.cancel, touches=_shipment_of)
def cancel(uow: UnitOfWork, request: ScheduleShipment) -> Decision[ShipmentRecorded]:
    """Cancel the shipment; recall one that was dispatched already."""
    shipment = uow.get(Shipment, request.transaction_id)
    if shipment is None:
        code = _tracking_code(request.transaction_id)
        return Decision(ShipmentRecorded(tracking_code=code, state=ShipmentState.CANCELLED))
    dispatched = shipment.state is ShipmentState.DISPATCHED
    shipment = replace(shipment, state=ShipmentState.RECALLED if dispatched else ShipmentState.CANCELLED)
    return Decision(shipment.answer(), [shipment])


@implements(shipping.dispatch, touches=_shipment_of)
def dispatch(uow: UnitOfWork, request: ScheduleShipment) -> Decision[ShipmentRecorded]:
    shipment = uow.get(Shipment, request.transaction_id)
    if shipment is None or shipment.state is not ShipmentState.SCHEDULED:
        raise RefusedDecision(Code.NOTHING_TO_ACT_ON, f"no scheduled shipment for {request.transaction_id}")
    shipment = replace(shipment, state=ShipmentState.DISPATCHED)
    return Decision(shipment.answer(), [shipment])


SHIPPING = ServiceDefinition(
    "shipping",
    metadata,
    Fence,
    [schedule, cancel, dispatch],
    [lists_open(shipping.list_open, Shipment, ShipmentState.SCHEDULED)],
    holds={Shipment: frozenset({ShipmentState.SCHEDULED})},
    leaves=Leaves(
        Shipment,
        frozenset({ShipmentState.DISPATCHED}),
        frozenset({ShipmentState.CANCELLED, ShipmentState.RECALLED}),
        joined_later=False,
    ),
)
