"""Text from outside in a form that is safe to show: characters that a terminal obeys, hides or reverses are escaped.

Any client can store any text in a reason, an actor or an error. All of it passes through here before it is shown.
"""

import re
import unicodedata

_NOT_PLAIN = re.compile(r"[^ -~]")
_SHOWN = ("\u200c", "\u200d")
"""Joiners, which are safe because they only shape the characters beside them."""


def visible(text: str, *, keep: str = "") -> str:
    """`text` on one line, with every unsafe character escaped but those in `keep`."""
    if text.isascii() and text.isprintable():  # several times faster than the expression, for most of what a log shows
        return text
    return _NOT_PLAIN.sub(lambda found: _escaped(found[0], keep), text)


def _escaped(character: str, keep: str) -> str:
    # Python calls every space but U+0020 unprintable; Japanese addresses contain the ideographic one.
    harmless = character.isprintable() or unicodedata.category(character) == "Zs" or character in _SHOWN
    return character if harmless or character in keep else character.encode("unicode_escape").decode()
