"""Writes what the documents draw of the process: `python -m tests.docs`."""

from __future__ import annotations

from .drawn import write

write()
