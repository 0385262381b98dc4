"""Text from a file or standard input: every document from outside is read here."""

import sys
from pathlib import Path

_BYTE_ORDER_MARK = "\ufeff"
"""The mark that spreadsheets and some editors write before UTF-8 text. It has no meaning and is ignored."""
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class Unreadable(Exception):
    """The text cannot be read. The message says why and what to do; the caller adds the source."""


def name_of(source: str) -> str:
    return "stdin" if source == "-" else source


def read_text(source: str, limit: int) -> str:
    """The text of the file `source`, or of standard input for `-`. Raises `Unreadable`, also beyond `limit` bytes."""
    try:
        if source == "-":
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(limit + 1)
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    if len(data) > limit:
        raise Unreadable(f"longer than {limit} bytes")
    return _text_of(data)


def without_mark(text: str) -> str:
    return text.removeprefix(_BYTE_ORDER_MARK)


def _text_of(data: bytes) -> str:
    if data.startswith(_UTF_16) or b"\0" in data:
        raise Unreadable("is not UTF-8 text but UTF-16, as it seems; save it as UTF-8")
    try:
        return without_mark(data.decode())
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"is not UTF-8 text: line {line} has the byte 0x{data[error.start]:02x}; save it as UTF-8"
        raise Unreadable(message) from error
