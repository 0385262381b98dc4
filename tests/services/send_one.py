"""A process that sends one confirmation through the gateways of its settings, and is killed meanwhile."""

import asyncio
import sys

from activities import delivery
from activities.database import connect
from activities.delivery import DeliveringService
from composition.services import gateways_of
from contracts import notification
from runtime.settings import Settings
from tests.services.requests import notice

if __name__ == "__main__":
    delivery.CLAIM_S = 1.5
    service = DeliveringService(connect(sys.argv[1]), gateways_of(Settings.read()))
    asyncio.run(service.execute(notification.send_confirmation, notice()))
