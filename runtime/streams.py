"""Standard output and error as a command uses them: how it ends does not depend on who takes what it says.

A full disk, a closed descriptor or a reader who has left (`| head`) loses the output and nothing else; `failure` says
so at the end.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Lossy(io.FileIO):
    """A file that takes every write, and remembers the first one that it could not pass on."""

    failure: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        size = memoryview(data).nbytes
        if self.failure is None:
            try:
                while (written := super().write(data)) is None:  # the other end does not block, and is full
                    select.select([], [self], [])
            except OSError as error:
                self.failure = error
            else:
                return written
        return size


def protect() -> None:
    """Put streams that lose what they cannot write in the place of standard output and error.

    What was closed before the process began is taken for a reader who has left; its descriptor is not written to, as
    it may belong to another file by now.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115 — for the whole life of the process
    sys.stdout = _protected(sys.stdout, 1)
    sys.stderr = _protected(sys.stderr, 2)


def lost_output() -> str | None:
    """Flush both streams; why the output could not be written, if it was not for a reader who has left."""
    sys.stdout.flush()
    sys.stderr.flush()
    raw = sys.stdout.buffer.raw if isinstance(sys.stdout.buffer, io.BufferedWriter) else None
    failure = raw.failure if isinstance(raw, _Lossy) else None
    return None if failure is None or failure.errno == errno.EPIPE else failure.strerror


def _protected(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is None:
        raw = _Lossy(os.devnull, "w")
        raw.failure = OSError(errno.EBADF, "it is closed")
        encoding = "utf-8"
    else:
        stream.flush()
        raw, encoding = _Lossy(descriptor, "w", closefd=False), stream.encoding
    at_once = descriptor == 2 or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=at_once)
