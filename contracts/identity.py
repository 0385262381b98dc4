"""The identity of a Temporal namespace, on which a service's database and a client of Temporal must agree."""

from typing import NamedTuple


class TemporalIdentity(NamedTuple):
    """A namespace of a cluster."""

    namespace_id: str
    """The only part that is compared. Temporal gives every namespace its own id, also the `default` of a dev server,
    and keeps it when the namespace is replicated to another cluster. The other parts are for people."""
    namespace: str
    cluster_id: str

    def __str__(self) -> str:
        return f"{self.namespace!r} (id {self.namespace_id}, cluster {self.cluster_id or 'unknown'})"
