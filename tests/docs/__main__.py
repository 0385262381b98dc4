"""Writes what the documents draw of the process: `python -m tests.docs`."""

from .drawn import write

write()
