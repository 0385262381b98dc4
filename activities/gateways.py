"""What takes messages to the outside: a mail server, an SMS webhook. Here is what they have in common."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from activities.notification import DeliveryRecord, DeliveryState, story_of
from activities.wording import Story
from contracts.notification import Channel, NotifyCustomer

CONNECTIONS = 10
"""Connections that one call opens to a gateway: a batch is sent by ten at once, which no server takes for an attack."""
_LONGEST_PROBLEM = 200


@dataclass
class Delivery:
    """One message on its way. Its gateway keeps `state` right at each moment, because a delivery may be stopped."""

    claim: DeliveryRecord
    request: NotifyCustomer
    state: DeliveryState = DeliveryState.NOT_SENT
    problem: str | None = "there was no time to send it"

    @property
    def key(self) -> str:
        """What a receiver recognizes a repeated message by: the same for every attempt, different for any other."""
        return f"{self.claim.transaction_id}/{self.claim.subject}/{self.claim.channel}"

    @property
    def story(self) -> Story:
        return story_of(self.request, self.claim.subject)

    @property
    def key_hash(self) -> str:
        """The key in letters and digits."""
        return hashlib.sha256(self.key.encode()).hexdigest()[:32]

    def becomes(self, state: DeliveryState, problem: str | None = None) -> None:
        """Note what has happened; `problem` is put on one line of bounded length."""
        self.state = state
        self.problem = " ".join(problem.split())[:_LONGEST_PROBLEM] if problem else None


class Gateway(Protocol):
    channel: Channel
    drops_repeats: bool
    """The receiver takes a repeated key for the same message, so a message in doubt may be sent again."""

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Hand the messages over, and note at each what became of it. Raises nothing but a bug. May be cancelled."""

    async def close(self) -> None: ...
