"""Commands that are imported when they are called, so that `--help`, `--version` and completion import none of them."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from runtime.commandline import guarded


class LazyCommand(TyperCommand):
    """Stands in for the command, or the group of commands, at `where` (`module:name`). `help` is its line in a list."""

    def __init__(self, name: str, where: str, help: str) -> None:  # noqa: A002 — typer's name
        super().__init__(name, help=help)
        self.where = where

    @cached_property
    def loaded(self) -> Any:
        module, _, attribute = self.where.partition(":")
        with _without_collector():
            found, alone = getattr(import_module(module), attribute), typer.Typer()
            if isinstance(found, typer.Typer):
                alone.add_typer(found, name=self.name)
            else:
                alone.command(self.name)(found)
            return guarded(typer.main.get_group(alone).commands[self.name or ""])

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the command itself: the group invokes that command, and completion asks it."""
        return self.loaded.make_context(info_name, args, parent=parent, **extra)


def group_of(commands: Mapping[str, tuple[str, str]]) -> type[TyperGroup]:
    """The class of a group of `commands`: by name, where each is and its line in `--help`."""

    class LazyGroup(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            for name, (where, line) in commands.items():
                self.add_command(LazyCommand(name, where, line))

    return LazyGroup


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep the garbage collector off while modules are imported: it finds nothing, and takes a tenth of their time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
