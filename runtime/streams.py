"""Standard output and error of a command, whose result does not depend on their readers.

A full disk, a closed descriptor or a reader that has ended (`| head`) loses output and nothing else; `lost_output`
reports it at the end.
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
    """A file that accepts every write, and keeps the error of the first write that failed."""

    failure: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        size = memoryview(data).nbytes
        if self.failure is None:
            try:
                while (
                    written := super().write(data)
                ) is None:  # the descriptor is non-blocking, and its buffer is full
                    select.select([], [self], [])
            except OSError as error:
                self.failure = error
            else:
                return written
        return size


def protect() -> None:
    """Replace standard output and error by streams that drop what they cannot write.

    A stream that was closed before the process began is never written to, because its descriptor may belong to another
    file by now.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115 — for the whole life of the process
    sys.stdout = _protected(sys.stdout, 1)
    sys.stderr = _protected(sys.stderr, 2)


def lost_output() -> str | None:
    """Flush both streams. Returns why output was lost, unless the reader had simply ended."""
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
