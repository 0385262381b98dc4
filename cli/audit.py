"""`audit`: proves the invariants over every database, or lists what breaks them."""

from collections.abc import Mapping

from rich.text import Text

from audit.report import Report
from cli import session, show
from cli.session import Json
from cli.words import counted
from runtime.commandline import Exit
from runtime.settings import Settings


def audit(json: Json = False) -> int:
    """Prove over every database that each order is everywhere or nowhere, and that no stock or money is lost."""
    from audit.run import audit as prove  # noqa: PLC0415 — SQLAlchemy and the services' tables, for this command alone

    report = session.run(lambda client: prove(client, Settings.read()))
    show.result(report, print_report, json=json)
    return Exit.OK if report.clean else Exit.VIOLATIONS


def print_report(report: Report) -> None:
    verdict = Text("clean", "green") if report.clean else Text(counted(len(report.violations), "violation"), "red")
    checks = ", ".join(f"{check} {count}" for check, count in report.checks.items())
    show.line(f"audit of {counted(report.orders, 'order')}: ", verdict, f" ({checks})")
    for violation in report.violations[: show.MAX_SHOWN]:
        told = f"{violation.message} ({_figures(violation.figures)})"
        show.line(f"  {violation.invariant} {violation.subject}: {told}")
    if len(report.violations) > show.MAX_SHOWN:
        show.line(f"  … and {len(report.violations) - show.MAX_SHOWN} more; --json lists all")
    for skip in report.skips[: show.MAX_SHOWN]:
        decided = f"skipped by {skip.actor} at {skip.decided_at:%Y-%m-%d %H:%M:%S}Z: {skip.reason}"
        show.line(f"  known: {skip.subject}: {skip.step} {decided} ({_figures(skip.figures)})")
    if len(report.skips) > show.MAX_SHOWN:
        show.line(f"  … and {len(report.skips) - show.MAX_SHOWN} more skips; --json lists all")


def _figures(figures: Mapping[str, int | str | None]) -> str:
    return ", ".join(f"{name}={'none' if value is None else value}" for name, value in figures.items())
