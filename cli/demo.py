"""`demo`: a fresh embedded system, orders that end in every way, and the audit."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.text import Text
from temporalio.client import Client

from cli import documents, session, show
from cli.audit import print_report
from cli.session import Json
from cli.table import Under
from client.orders import Mode, Orders
from contracts import inventory, payment
from contracts.errors import Code
from contracts.inventory import SetStock
from contracts.order import Order
from contracts.payment import SetAccount
from runtime import connection
from runtime.commandline import CommandFailed, Exit
from runtime.embedded import DIE_WITH_PARENT, free_port
from runtime.execute import execute
from runtime.settings import Settings
from temporal_saga import State, TransactionLog

FAULTS = Path(__file__).with_name("demo_faults.toml")
_START_TIMEOUT_S = 60
_CUSTOMER = "c-demo"


@dataclass(frozen=True)
class Scene:
    """One order of the demo: what is special about it, and how it must end."""

    order_id: str
    story: str
    state: State
    code: Code | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    act: Callable[[Client, Order], Awaitable[TransactionLog]] | None = None


async def _place(client: Client, order: Order) -> TransactionLog:
    return await Orders(client).place(order, Mode.SAGA)


async def _place_twice(client: Client, order: Order) -> TransactionLog:
    first = await _place(client, order)
    second = await _place(client, order)
    return second if second == first else TransactionLog(second.transaction_id, State.RUNNING)


async def _place_and_cancel(client: Client, order: Order) -> TransactionLog:
    orders = Orders(client)
    log = await orders.start(order, Mode.SAGA)
    while not log.state.is_end and all(entry.step != "shipping.schedule" for entry in log.steps):
        await asyncio.sleep(0.1)  # its courier is slow, see the fault file: there is time to change one's mind
        log = (await orders.status(order.order_id)).log
    if not log.state.is_end:
        await orders.cancel(order.order_id, "the customer changed their mind")
    return await orders.place(order, Mode.SAGA)


def _line(sku: str, quantity: int = 1) -> dict[str, Any]:
    return {"lines": [{"sku": sku, "quantity": quantity, "unit_price_minor": 1299}]}


_ABROAD = {"name": "R. Amundsen", "street": "1 Pole", "city": "South Pole", "postcode": "0", "country": "AQ"}
_NO_MAIL = {"email": "ada@nowhere.invalid", "phone": "+442071234567"}

SCENES = (
    Scene("demo-confirmed", "all goes well", State.CONFIRMED),
    Scene("demo-twice", "placed twice: the first outcome again", State.CONFIRMED, act=_place_twice),
    Scene("demo-lost-reply", "payment's reply is lost, the retry finds it done", State.CONFIRMED),
    Scene("demo-flaky", "every service fails twice, then works", State.CONFIRMED),
    Scene(
        "demo-no-letter",
        "the confirmation mail bounces, and does not matter",
        State.CONFIRMED,
        changes={"contact": _NO_MAIL},
    ),
    Scene("demo-poor", "not enough money", State.ROLLED_BACK, Code.INSUFFICIENT_FUNDS, {"customer_id": "c-poor"}),
    Scene("demo-stranger", "no account", State.ROLLED_BACK, Code.PAYMENT_DECLINED, {"customer_id": "c-nobody"}),
    Scene("demo-sold-out", "the last unit is gone", State.ROLLED_BACK, Code.OUT_OF_STOCK, _line("RARE-1")),
    Scene("demo-unknown", "no such thing", State.ROLLED_BACK, Code.UNKNOWN_SKU, _line("UNICORN-1")),
    Scene("demo-pole", "no courier goes there", State.ROLLED_BACK, Code.SHIPPING_UNAVAILABLE, {"ship_to": _ABROAD}),
    Scene("demo-hang", "shipping never answers", State.ROLLED_BACK, Code.STEP_TIMEOUT),
    Scene("demo-down", "inventory fails every time", State.ROLLED_BACK, Code.SERVICE_UNAVAILABLE),
    Scene("demo-late", "too slow for its deadline", State.ROLLED_BACK, Code.DEADLINE_EXCEEDED, {"deadline_s": 2}),
    Scene(
        "demo-cancelled", "the customer changes their mind", State.ROLLED_BACK, Code.CANCELLED, act=_place_and_cancel
    ),
    Scene(
        "demo-letter",
        "the confirmation mail bounces, and must not",
        State.ROLLED_BACK,
        Code.NOTIFICATION_FAILED,
        {"contact": _NO_MAIL, "notification": "required"},
    ),
)


class Played(BaseModel):
    """How a scene ended, and whether that is how it must end."""

    order_id: str
    story: str
    state: State
    code: str | None
    seconds: float | None
    as_expected: bool


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the system running until Ctrl-C.")] = False,
    json: Json = False,
) -> int:
    """Start a fresh system, place an order for every way to end, show how they ended, and audit."""
    return session.run_alone(lambda: _demo(keep=keep, json=json))


async def _demo(*, keep: bool, json: bool) -> int:
    from audit.run import audit  # noqa: PLC0415 — SQLAlchemy and the services' tables, where they are needed

    with tempfile.TemporaryDirectory(prefix="order-saga-demo-", ignore_cleanup_errors=True) as folder:
        # All data of the demo is in this folder: nothing is left over, and no other data is touched.
        os.environ["DATABASE_URL"] = f"sqlite+aiosqlite:///{folder}/{{service}}.db"
        settings = Settings.read()
        async with _system(Path(folder)) as (address, web_ui):
            client = await connection.connect(settings, address=address)
            show.remark(f"Web UI, for as long as this runs: {web_ui}")
            played = await play(client)
            report = await audit(client, settings)
            if json:
                show.document({"orders": played, "audit": report, "web_ui": web_ui})
            else:
                _show(played)
                print_report(report)
                _show_what_is_next(web_ui, keep=keep)
            if keep:
                await asyncio.Event().wait()
    return Exit.OK if report.clean and all(order.as_expected for order in played) else Exit.VIOLATIONS


async def play(client: Client) -> list[Played]:
    """Place an order for each scene, all at once, and see how they end."""
    for customer, balance in ((_CUSTOMER, 10**6), ("c-poor", 1)):
        opening = SetAccount(transaction_id=f"demo-{customer}", customer_id=customer, balance_minor=balance)
        await execute(client, payment.set_account, opening)
    for sku, units in (("BOOK-1", 1000), ("RARE-1", 0)):
        delivery = SetStock(transaction_id=f"demo-{sku}", sku=sku, on_hand=units)
        await execute(client, inventory.set_stock, delivery)
    with show.waiting(f"{len(SCENES)} orders under way; the one that times out takes about 25 s"):
        return await asyncio.gather(*(_enact(client, scene) for scene in SCENES))


def _show(played: list[Played]) -> None:
    rows = []
    for order, scene in zip(played, SCENES, strict=True):
        wrong = Text(f"expected {scene.state} {scene.code or ''}", "red")
        mark = Text("ok", "green") if order.as_expected else wrong
        rows.append((order.order_id, order.story, show.state(order.state), order.code, order.seconds, mark))
    show.table("orders", ["order", Under("story"), "end", Under("code"), "seconds", "check"], rows)


def _show_what_is_next(web_ui: str, *, keep: bool) -> None:
    if keep:
        show.line(f"Web UI {web_ui} (Ctrl-C ends)")
        return
    show.line(f"Web UI was at {web_ui}; `KEEP=1 make demo` keeps it running")
    show.line("next: `make up`, and in another terminal `.venv/bin/python starter.py place --item BOOK-1:2`")


async def _enact(client: Client, scene: Scene) -> Played:
    line = _line("BOOK-1", quantity=2)
    document = documents.document(scene.order_id, _CUSTOMER, line["lines"]) | scene.changes
    log = await (scene.act or _place)(client, Order.model_validate(document))
    code = log.error.code if log.error else None
    return Played(
        order_id=scene.order_id,
        story=scene.story,
        state=log.state,
        code=code,
        seconds=_seconds(log),
        as_expected=(log.state, code) == (scene.state, scene.code),
    )


def _seconds(log: TransactionLog) -> float | None:
    ended = [entry.ended_at for entry in log.steps if entry.ended_at]
    return round((max(ended) - log.steps[0].started_at).total_seconds(), 1) if ended else None


@asynccontextmanager
async def _system(folder: Path) -> AsyncIterator[tuple[str, str]]:
    """The embedded server and every service in a process of their own; yields their address and the Web UI's."""
    port, ui_port = free_port(), free_port()
    log_file = folder / "worker.log"
    command = [sys.executable, "worker.py", "--embedded", "--port", str(port), "--ui-port", str(ui_port)]
    command += ["--data", str(folder), "--faults", str(FAULTS)]
    with log_file.open("wb") as log:
        worker = await asyncio.create_subprocess_exec(
            *command,
            cwd=Path(__file__).parents[1],
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            preexec_fn=DIE_WITH_PARENT,
        )
    try:
        with show.waiting("starting the embedded Temporal server and the services"):
            await _ready(worker, log_file)
        yield f"127.0.0.1:{port}", f"http://127.0.0.1:{ui_port}"
    finally:
        if worker.returncode is None:
            worker.terminate()
        await worker.wait()


async def _ready(worker: asyncio.subprocess.Process, log_file: Path) -> None:
    assert worker.stdout is not None  # noqa: S101 — it was asked for above
    try:
        first = await asyncio.wait_for(worker.stdout.readline(), _START_TIMEOUT_S)
    except TimeoutError:
        first = b""
    if not first.startswith(b"ready"):
        raise CommandFailed(Code.UNREACHABLE, f"the system did not start: {_last_line(log_file)}", Exit.UNREACHABLE)


def _last_line(log_file: Path) -> str:
    return (log_file.read_text().strip().splitlines() or ["it said nothing"])[-1]
