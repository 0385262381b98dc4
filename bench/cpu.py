"""What processes have used, from /proc: processor time and memory of a tree, the servers in it apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psutil

SERVERS = ("temporal", "postgres", "restate-server")
"""Names of the programs that keep an engine's state. Every other process of a contender runs its code: the worker."""


@dataclass(frozen=True)
class Usage:
    """Seconds of processor time since the processes began (user and system), and the worker's resident memory now."""

    server_s: float = 0
    worker_s: float = 0
    worker_rss: int = 0

    def __sub__(self, earlier: Usage) -> Usage:
        """What was used since `earlier`; memory is not a difference, it stays what it is now."""
        return Usage(self.server_s - earlier.server_s, self.worker_s - earlier.worker_s, self.worker_rss)


def used(roots: Iterable[int]) -> Usage:
    """The usage of the processes `roots` and all below them. Children that ended count with whoever reaped them."""
    server_s = worker_s = 0.0
    worker_rss = 0
    for process in _trees(roots):
        try:
            times, rss, name = process.cpu_times(), process.memory_info().rss, process.name()
        except psutil.NoSuchProcess:  # it ended while we looked, its parent has its times
            continue
        seconds = times.user + times.system + times.children_user + times.children_system
        if name.startswith(SERVERS):
            server_s += seconds
        else:
            worker_s += seconds
            worker_rss += rss
    return Usage(server_s, worker_s, worker_rss)


def _trees(roots: Iterable[int]) -> list[psutil.Process]:
    tops = [psutil.Process(pid) for pid in roots]
    return [*tops, *(child for top in tops for child in top.children(recursive=True))]
