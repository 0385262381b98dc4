"""`audit`: proves the invariants over every database, or lists what breaks them."""

from __future__ import annotations

from cli import session, show
from cli.session import Json
from runtime.commandline import Exit
from runtime.settings import Settings


def audit(json: Json = False) -> int:
    """Prove over every database that each order is everywhere or nowhere, and that no stock or money is lost."""
    from audit.run import audit as prove  # noqa: PLC0415 — SQLAlchemy and the services' tables, for this command alone

    report = session.run(lambda client: prove(client, Settings.read()))
    show.result(report, show.audit, json=json)
    return Exit.OK if report.clean else Exit.VIOLATIONS
