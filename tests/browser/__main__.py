"""`python -m tests.browser` (`make browser`): opens orders of each end in the Web UI and finds what people look for.

It starts an embedded system, brings one order to each end in each mode, and opens their pages in headless Chromium,
which must be on the PATH (Debian's package `chromium`), through playwright-core (`npm ci` in this folder). A screenshot
of each page is left in a folder. Exit code 0 if every text was found, 1 if one was not, 2 without Chromium, Node or
playwright-core.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli.documents import document
from tests.end_to_end.processes import temporal
from tests.end_to_end.system import System
from tests.eventually import eventually

_HERE = Path(__file__).parent
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_CANNOT_LOOK = 2
_TIMEOUT_S = 300
_FAULTS = """
fault = [
  {transaction = "order/*-parked", operation = "payment.cancel", kind = "refuse", code = "SERVICE_UNAVAILABLE"},
  {transaction = "order/*-skipped", operation = "payment.capture", kind = "refuse", code = "SERVICE_UNAVAILABLE"},
]
"""
_DETAILS = "User Metadata"
"""The tab with the summary, the details and the current details of a workflow."""


@dataclass(frozen=True)
class Page:
    """A page, the texts that must be on it, and the tab that shows them, if it is not the first."""

    name: str
    url: str
    texts: tuple[str, ...]
    click: str | None = None


def main(folder: Annotated[Path, typer.Option(help="Where the screenshots go.")] = Path("data/browser")) -> None:
    """Look at every page."""
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        _cannot(f"there is no Chromium on the PATH ({', '.join(_BROWSERS)}): install Debian's package chromium")
    if shutil.which("node") is None or not (_HERE / "node_modules/playwright-core").is_dir():
        _cannot("playwright-core is not installed: install Node 20 with npm, then `make browser`")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="order-saga-browser-", ignore_cleanup_errors=True) as data:
        faults = Path(data) / "faults.toml"
        faults.write_text(_FAULTS)
        system = System(Path(data), ["--faults", str(faults)])
        try:
            system.start()
            pages = [asdict(page) for page in _pages(system)]
            asked = json.dumps({"chromium": found, "folder": str(folder.absolute()), "pages": pages})
            looked = subprocess.run(
                ["node", str(_HERE / "look.mjs")],  # noqa: S607 — the PATH's, as it was looked for
                input=asked,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        finally:
            if system.worker is not None:
                system.stop()
    print(f"screenshots are in {folder}")
    sys.exit(looked.returncode)


def _cannot(why: str) -> None:
    print(f"not looked at: {why}", file=sys.stderr)
    sys.exit(_CANNOT_LOOK)


def _pages(system: System) -> Iterator[Page]:
    """Place the orders; a page for each, and the list of what is parked."""
    web_ui = f"http://127.0.0.1:{system.ui_port}/namespaces/default/workflows"

    def page(name: str, workflow_id: str, *texts: str, click: str | None = None) -> Page:
        return Page(name, f"{web_ui}/{quote(workflow_id, safe='')}", texts, click)

    _place(system, "o-confirmed")
    yield page("confirmed", "order/o-confirmed", "order.confirm • pivot", "deadline", "payment.capture • finish")
    yield page("confirmed-start", "order/o-confirmed", "saga, c-1: 2 x BOOK-1", click=_DETAILS)
    _place(system, "o-refused", sku="UNICORN-1")
    yield page("rolled-back", "order/o-refused", "payment.cancel • undo of payment.authorize", "UNKNOWN_SKU")
    _place(system, "o-colocated", "--mode", "colocated")
    yield page("colocated", "order/o-colocated", "order.confirm • pivot")
    _place(system, "o-skipped")
    skip = ["desk", "skip", "o-skipped", "payment.capture", "--actor", "ann", "--reason", "captured by hand"]
    assert system.run(*skip).code == 0
    yield page("skipped", "order/o-skipped", "payment.capture parked: SERVICE_UNAVAILABLE", "desk_skip")
    _place(system, "o-parked", sku="UNICORN-1")
    yield page("parked", "order/o-parked", "payment.cancel parked: SERVICE_UNAVAILABLE")
    command = "starter.py desk retry o-parked payment.cancel"
    yield page("parked-details", "order/o-parked", "Parked.", "injected: the service says no", command, click=_DETAILS)
    _place(system, "o-events", "--mode", "choreography")
    events = ("PaymentAuthorized", "StockReserved", "ShipmentScheduled", "order.confirm • pivot")
    yield page("choreography", "choreography/o-events/order", *events)
    batch = _batch(system)
    yield page(
        "batch",
        batch,
        "inventory.reserve.batch • 3 orders",
        "payment.cancel.batch • undo of payment.authorize, 1 order",
    )
    yield page("batch-details", batch, "3 orders: b-0, b-1, b-2", "CONFIRMED: 2", "ROLLED_BACK: 1", click=_DETAILS)
    link = eventually(lambda: _parked_link(system), "visibility knows of the parked call", until=bool)
    yield Page("list-of-parked", link, ("order/o-parked",))


def _place(system: System, order_id: str, *options: str, sku: str = "BOOK-1") -> None:
    system.place(document(order_id, "c-1", _lines(sku)), *options)


def _lines(sku: str) -> list[dict[str, Any]]:
    return [{"sku": sku, "quantity": 2, "unit_price_minor": 1299}]


def _batch(system: System) -> str:
    """Place three orders as a batch, of which one is refused; the id of its workflow."""
    orders = [document(f"b-{at}", "c-1", _lines("UNICORN-1" if at == 0 else "BOOK-1")) for at in range(3)]
    placed = system.run("bulk", "-", "--mode", "batch", stdin="\n".join(map(json.dumps, orders)))
    assert placed.code == 0, placed.err

    def listed() -> str:
        found = temporal(system, "workflow", "list", "--query", "WorkflowType = 'BatchWorkflow'", "--output", "json")
        return "".join(each["execution"]["workflowId"] for each in json.loads(found))

    return eventually(listed, "visibility knows of the batch")


def _parked_link(system: System) -> str:
    """The page that `desk list` names, once it lists the call."""
    lines = system.run("desk", "list").out.splitlines()
    return lines[-1] if "o-parked payment.cancel (undo)" in lines else ""


if __name__ == "__main__":
    typer.run(main)
