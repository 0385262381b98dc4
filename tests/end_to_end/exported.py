"""The metrics that a worker serves."""

from __future__ import annotations

import re
import urllib.request


def exported(port: str) -> set[str]:
    """The metrics that a worker serves on the loopback."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text = page.read().decode()
    return set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
