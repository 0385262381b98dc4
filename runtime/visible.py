"""Text from outside as it may be shown: what a terminal would obey, hide or turn around is written as an escape.

Other clients can store anything in a reason, an actor or an error; what reaches a person goes through here.
"""

from __future__ import annotations

import re
import unicodedata

_NOT_PLAIN = re.compile(r"[^ -~]")
_SHOWN = ("\u200c", "\u200d")
"""Joiners: the characters beside them are shaped by them, and nothing else is."""


def visible(text: str, *, keep: str = "") -> str:
    """`text` on one line; `keep` are characters that are let through."""
    return _NOT_PLAIN.sub(lambda found: _escaped(found[0], keep), text)


def _escaped(character: str, keep: str) -> str:
    # Python calls spaces other than its own unprintable: the ideographic one is in Japanese addresses.
    harmless = character.isprintable() or unicodedata.category(character) == "Zs" or character in _SHOWN
    return character if harmless or character in keep else character.encode("unicode_escape").decode()
