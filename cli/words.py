"""Numbers in words: counts with their noun, and how long something took."""

from datetime import timedelta

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """`1 order`, `2 orders`. `nouns` is the plural, where that is not the noun with an s."""
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


def lasted(time: timedelta) -> str:
    """`0.7 s`, `12 min`, `3.5 h` or `2.1 d`."""
    seconds = max(time.total_seconds(), 0.0)
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h" if seconds < _DAY else f"{seconds / _DAY:.1f} d"
