"""What happens while a command waits for an order or a transaction, on stderr, and what it says when a person leaves.

A terminal has a view that moves; where nothing can move, each change is a line.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import NoReturn

from rich.console import RenderableType
from rich.live import Live
from rich.spinner import Spinner
from temporalio.client import Client
from temporalio.service import RPCError

from cli import log, session, show
from cli.table import shown
from client.errors import ClientError
from client.look import Look, Observer
from client.outage import OutageBudget
from contracts.errors import Code
from contracts.ids import Coordinator
from runtime import web_ui
from runtime.commandline import CommandFailed, Exit
from runtime.execute import OperationFailed
from runtime.settings import SettingsError
from temporal_saga import CallKind, State, TransactionLog

_LOOK_EVERY_S = 0.5
_LOOK_AT_PARKED_EVERY_S = 2
"""A look costs the workers a query, and a parked call waits for minutes. The countdown moves without one."""
_NOT_SEEN = (ClientError, RPCError, OperationFailed, SettingsError)
"""Why a look fails. The wait beside it says so, if it lasts."""
See = Callable[[Look], None]


class Wait:
    """A command's wait for what it starts: `known_as` to `status`, `workflow_id` to the Web UI."""

    def __init__(self, known_as: str, workflow_id: str, *, json: bool) -> None:
        self._known_as = known_as
        self._workflow_id = workflow_id
        self._is_quiet = show.is_quiet(json=json)
        self._is_asked_for = False
        self._is_under_way = False

    def run(self, work: Callable[[Client], Awaitable[TransactionLog]]) -> Look:
        """What `work` returns, which starts it and waits for it. Raises `CommandFailed` also when the person leaves."""
        try:
            return session.run(lambda client: self._run(client, work))
        except KeyboardInterrupt:
            if not self._is_asked_for:
                raise
            self._leave()

    async def _run(self, client: Client, work: Callable[[Client], Awaitable[TransactionLog]]) -> Look:
        page = await web_ui.page_of(client, self._workflow_id)
        if not self._is_quiet:
            where = page or f"`starter.py status {self._known_as}` shows it"
            show.remark(f"starting {Coordinator.parse(self._known_as).name}: {where}")
        self._is_asked_for = True
        with _nothing() if self._is_quiet else _changes(_Line()) as see:
            following = asyncio.ensure_future(self._follow(client, see))
            try:
                done = await work(client)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
        return await Observer(client, self._known_as).beside(done)

    async def _follow(self, client: Client, see: See) -> None:
        observer = Observer(client, self._known_as)
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            with suppress(*_NOT_SEEN):  # also as long as it is not started
                look = await observer.look()
                self._is_under_way = True
                see(look)

    def _leave(self) -> NoReturn:
        status = f"`starter.py status {self._known_as} --watch`"
        goes_on = f"{self._known_as} goes on: {status} shows it"
        told = goes_on if self._is_under_way else f"{self._known_as} may have been started: {status} tells"
        raise CommandFailed(Code.INTERRUPTED, f"interrupted; {told}", Exit.NOT_ENDED)


def watch(known_as: str, *, json: bool) -> Look:
    """The end of an order or a transaction, and on stderr how it comes to it. Raises `CommandFailed`."""

    async def watched(client: Client) -> Look:
        observer, budget = Observer(client, known_as), OutageBudget()
        with _nothing() if show.is_quiet(json=json) else _changes(log.LogView) as see:
            while True:
                look = await budget.retried(observer.look)
                budget.answered()
                if look.status.has_ended:
                    return look
                see(look)
                is_parked = look.status.log.state is State.PARKED
                await asyncio.sleep(_LOOK_AT_PARKED_EVERY_S if is_parked else _LOOK_EVERY_S)

    try:
        return session.run(watched)
    except KeyboardInterrupt:
        message = f"interrupted; {known_as} goes on: `starter.py status {known_as}` shows it"
        raise CommandFailed(Code.INTERRUPTED, message, Exit.NOT_ENDED) from None


@contextmanager
def _changes(view: Callable[[Look], RenderableType]) -> Iterator[See]:
    """Show each look: as `view` on a terminal, which is taken away at the end, or each change in a line."""
    if not show.stderr.is_interactive:
        yield _Lines()
        return
    latest: list[Look] = []

    def renderable() -> RenderableType:
        return view(latest[-1]) if latest else ""

    with Live(get_renderable=renderable, console=show.stderr, refresh_per_second=4) as live:
        yield lambda look: latest.__setitem__(slice(None), [look])
        live.transient = True  # the result follows; a person who leaves keeps the view


@contextmanager
def _nothing() -> Iterator[See]:
    yield lambda _: None


class _Lines:
    """A line for each step that has changed, and one for each state that the saga enters."""

    def __init__(self) -> None:
        self._state: State = State.RUNNING
        self._told: dict[tuple[str, CallKind], str] = {}

    def __call__(self, look: Look) -> None:
        saga, now = look.status.log, datetime.now(UTC)
        at, now_told = f"{now:%H:%M:%S}Z", log.told(look, now)
        for step, line in now_told.items():
            if self._told.get(step) != line:
                show.remark(f"{at} {line}")
        if saga.state is not self._state:
            error = f" ({saga.error.code})" if saga.error else ""
            show.remark(f"{at} {Coordinator.parse(saga.transaction_id).name} {saga.state}{error}")
        self._state, self._told = saga.state, now_told


class _Line:
    """One line: the steps that are being made, or the state if none is, and how long the saga runs."""

    def __init__(self) -> None:
        self._spinner = Spinner("dots")

    def __call__(self, look: Look) -> RenderableType:
        text = shown(log.under_way(look, datetime.now(UTC)))
        text.no_wrap, text.overflow = True, "ellipsis"
        self._spinner.update(text=text)
        return self._spinner
