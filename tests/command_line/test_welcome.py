"""The screen of a system that is ready: where it is, and a first command that reaches it."""

from pathlib import Path

from runtime.embedded import EmbeddedServer
from runtime.welcome import welcome


def test_the_screen_has_the_addresses_and_a_first_command() -> None:
    screen = welcome(EmbeddedServer("127.0.0.1:7233", "http://127.0.0.1:8233", 1), Path("data"))
    assert "http://127.0.0.1:8233" in screen
    assert "127.0.0.1:7233, its state in data" in screen
    assert "starter.py place --item BOOK-1:2" in screen
    assert "TEMPORAL_ADDRESS" not in screen
    assert max(map(len, screen.splitlines())) <= 80


def test_the_command_names_a_server_at_another_port() -> None:
    screen = welcome(EmbeddedServer("127.0.0.1:17233", "http://127.0.0.1:8233", 1), Path("data"))
    assert "    TEMPORAL_ADDRESS=127.0.0.1:17233 " in screen
