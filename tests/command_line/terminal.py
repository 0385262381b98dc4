"""A program on a pseudo terminal of a given width, as a person sees it."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..eventually import eventually

ROOT = Path(__file__).parents[2]
_ROWS = 200
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_WITH_CONTROLLING_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.default_int_handler)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Only with its terminal as the controlling one does a program get Ctrl-C from it as a signal, and only if it does not
inherit that it is ignored, as what a script starts in the background does."""
_TIMEOUT_S = 60


class Terminal:
    """`words` are the arguments of this Python; `environment` replaces that of the tests, but for `TERM`."""

    def __init__(
        self,
        words: Sequence[str],
        columns: int = 80,
        term: str = "xterm",
        environment: Mapping[str, str] | None = None,
        folder: Path = ROOT,
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))
        os.set_blocking(self._master, False)
        unset = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
        variables = {name: value for name, value in os.environ.items() if name not in unset}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WITH_CONTROLLING_TERMINAL, sys.executable, *words],
            cwd=folder,
            env=variables | dict(environment or {}) | {"TERM": term},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._written = b""

    @property
    def written(self) -> str:
        """All that the program has written by now, with what the terminal obeys."""
        while True:
            try:
                more = os.read(self._master, 65_536)
            except BlockingIOError:
                break
            except OSError:  # the program has ended, and nothing is left
                break
            if not more:
                break
            self._written += more
        return self._written.decode(errors="replace")

    @property
    def shown(self) -> str:
        """The text of it, lines that were overwritten included."""
        return _CONTROL.sub("", self.written).replace("\r", "")

    @property
    def is_coloured(self) -> bool:
        return any(re.search(r"[\[;](3[0-7]|9[0-7])[;m]", each) for each in _COLOUR.findall(self.written))

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    def until_shown(self, text: str) -> None:
        eventually(lambda: self.shown, f"the terminal shows {text}", until=lambda shown: text in shown)

    def end(self) -> int:
        """Wait for the end of the program; its exit code."""
        what = "the program ends"
        eventually(lambda: (self.written, self._process.poll()), what, until=lambda seen: seen[1] is not None,
                   timeout_s=_TIMEOUT_S)  # fmt: skip
        assert self.written is not None  # what it has written last
        os.close(self._master)
        return self._process.returncode
