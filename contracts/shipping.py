"""The operations of the shipping service: schedule a shipment, dispatch it, cancel it."""

from enum import StrEnum

from contracts.message import Id, ListOpen, OpenTransactions, Reply, Request
from contracts.order import Address
from temporal_saga import Operation

QUEUE = "shipping"


class ShipmentState(StrEnum):
    SCHEDULED = "SCHEDULED"
    DISPATCHED = "DISPATCHED"
    CANCELLED = "CANCELLED"
    RECALLED = "RECALLED"


class ScheduleShipment(Request):
    order_id: Id
    ship_to: Address


class ShipmentRecorded(Reply):
    tracking_code: str
    state: ShipmentState


schedule = Operation("shipping.schedule", ScheduleShipment, ShipmentRecorded, queue=QUEUE)
cancel = Operation("shipping.cancel", ScheduleShipment, ShipmentRecorded, queue=QUEUE, undoes=schedule)
dispatch = Operation("shipping.dispatch", ScheduleShipment, ShipmentRecorded, queue=QUEUE, acts_on=schedule)
list_open = Operation("shipping.list_open", ListOpen, OpenTransactions, queue=QUEUE)
