"""The metrics that a worker serves."""

import re
import urllib.request


def page(port: str) -> str:
    """What Prometheus reads from a worker on the loopback."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def exported(port: str) -> set[str]:
    """The names of the metrics that a worker serves on the loopback."""
    return set(re.findall(r"^# TYPE (\w+) ", page(port), re.MULTILINE))
