"""`retire`: removes the rows of orders and transactions that ended long ago, between two audits."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from temporalio.client import Client

from audit.report import Invariant, Report, Violation
from cli import session, show
from cli.audit import print_report
from cli.session import Json
from client.retirement import DEFAULT_BATCH, Plan, Retirement, Retirer
from contracts.errors import Code
from contracts.ids import order_workflow_id, whole_of
from contracts.message import LEASE
from contracts.retention import MAX_BATCH
from runtime.commandline import CommandFailed, Exit
from runtime.settings import Settings

_DURATION = re.compile(r"([1-9][0-9]{0,4})([dh])", re.ASCII)
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1)}
_MAX_NAMED = 3


def retire(
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Days or hours since the last change: 90d, 12h.")],
    batch: Annotated[int, typer.Option(min=1, max=MAX_BATCH, help="Transactions removed at a time.")] = DEFAULT_BATCH,
    json: Json = False,
) -> int:
    """Remove the rows of orders and transactions that ended before that time, and that Temporal has forgotten.

    Their ids stay refused. It may be killed at any time and run again. It reads the databases, as `audit` does.
    """
    age = _duration(older_than)
    retirement, report = session.run(lambda client: _retire(client, age, batch))
    if json:
        show.document(retirement.model_dump(mode="json") | {"audit": report.model_dump(mode="json")})
    else:
        _show(retirement)
        print_report(report)
    return Exit.OK if report.clean else Exit.VIOLATIONS


async def _retire(client: Client, age: timedelta, batch: int) -> tuple[Retirement, Report]:
    from audit.run import audit  # noqa: PLC0415 — SQLAlchemy and the services' tables, for the audit alone

    retirer = Retirer(client, batch)
    plan = await retirer.plan(datetime.now(UTC) - age)
    _require_clean(await audit(client, Settings.read()), plan)
    done = 0

    def tell(examined: int) -> None:
        nonlocal done
        done += examined
        show.remark(f"{done} of {len(plan.transactions)} old transactions examined")

    return await retirer.carry_out(plan, tell), await audit(client, Settings.read())


def _require_clean(report: Report, plan: Plan) -> None:
    """Raise `CommandFailed` if a violation is about one of these transactions, or about a sum that they may explain."""
    found = [each for each in report.violations if _blocks(each, plan)]
    if found:
        named = ", ".join(f"{each.invariant} {each.subject}" for each in found[:_MAX_NAMED])
        more = f" and {len(found) - _MAX_NAMED} more" if len(found) > _MAX_NAMED else ""
        message = (
            f"the audit has violations: {named}{more}; nothing is removed until `starter.py audit` is clean of them"
        )
        raise CommandFailed(Code.NOT_CLEAN, message, Exit.VIOLATIONS)


def _blocks(violation: Violation, plan: Plan) -> bool:
    about = violation.subject.removeprefix("transaction/")
    is_sum = violation.invariant in (Invariant.STOCK, Invariant.MONEY)
    return is_sum or not plan.transactions.keys().isdisjoint({whole_of(about), order_workflow_id(about)})


def _duration(text: str) -> timedelta:
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        message = f"--older-than {text[:80]}: write a number of days or hours from 1 to 99999, such as 90d or 12h"
        raise CommandFailed(Code.USAGE, message, Exit.INVALID)
    age = int(found[1]) * _UNITS[found[2]]
    if age < LEASE:
        message = f"--older-than {text}: at least {LEASE // _UNITS['h']}h, the life of a hold"
        raise CommandFailed(Code.USAGE, message, Exit.INVALID)
    return age


def _show(done: Retirement) -> None:
    show.line(
        f"{done.retired} orders and transactions without a change since {done.before:%Y-%m-%d %H:%M:%S}Z were retired: "
        f"{done.rows} rows"
    )
    if done.known_to_temporal:
        show.line(
            f"{done.known_to_temporal} stay: Temporal still knows their workflow; retire again after its retention"
        )
    if done.holding:
        show.line(f"{done.holding} stay: something is held for them")
    if done.young:
        show.line(f"{done.young} stay: one of the services changed something for them later")
    if done.more:
        show.line("there are more than one run takes: run it again")
