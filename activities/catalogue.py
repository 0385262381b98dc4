"""The services, by the name of their task queue."""

from dataclasses import replace

from activities import erasure, retention
from activities.binding import binding_table
from activities.definition import ServiceDefinition
from activities.inventory import INVENTORY
from activities.notification import NOTIFICATION
from activities.order import ORDER
from activities.outbox import outbox_table
from activities.payment import PAYMENT
from activities.shipping import SHIPPING

SERVICES: dict[str, ServiceDefinition] = {
    definition.name: replace(
        definition, queries=[*definition.queries, *retention.queries(definition), *erasure.queries(definition)]
    )
    for definition in (ORDER, PAYMENT, INVENTORY, SHIPPING, NOTIFICATION)
}

for _definition in SERVICES.values():
    binding_table(_definition.metadata)
    outbox_table(_definition.metadata)
