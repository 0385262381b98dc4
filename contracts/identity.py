"""Which Temporal this is: what a service's database and a client of Temporal must agree on."""

from __future__ import annotations

from typing import NamedTuple


class TemporalIdentity(NamedTuple):
    """A namespace of a cluster.

    `namespace_id` alone decides: Temporal gives every namespace one of its own, a dev server's `default` too, and keeps
    it where a namespace is replicated to another cluster. The rest is for people.
    """

    namespace_id: str
    namespace: str
    cluster_id: str

    def __str__(self) -> str:
        return f"{self.namespace!r} (id {self.namespace_id}, cluster {self.cluster_id or 'unknown'})"
