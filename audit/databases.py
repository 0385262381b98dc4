"""Whether a service's database answers, has this build's schema and belongs to this Temporal."""

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from activities.binding import BoundElsewhere, bound_to, require_same
from activities.catalogue import SERVICES
from activities.database import UNUSABLE, reading, reason_of
from activities.schema import migrations_of
from client.health import Check
from contracts.identity import TemporalIdentity
from runtime.settings import Settings

SERVED = tuple(SERVICES)


async def database(service: str, settings: Settings, here: TemporalIdentity | None) -> Check:
    """The check of one database; `here` is unset where the Temporal is not known."""
    name = f"database of {service}"
    try:
        async with reading(settings.database_of(service)) as connection:
            problem, version = await connection.run_sync(_schema, service)
            if problem is None and here is not None:
                require_same(await bound_to(connection), here)
    except BoundElsewhere as error:
        remedy = "set DATABASE_URL or TEMPORAL_*; to move the databases here, see docs/runbook.md, Databases"
        return Check(check=name, ok=False, found=str(error), remedy=remedy)
    except UNUSABLE as error:
        remedy = "see DATABASE_URL; restore a file that is lost (docs/runbook.md, Databases); at a first start, "
        remedy += f"`worker.py --service {service}` makes the database"
        return Check(check=name, ok=False, found=reason_of(error), remedy=remedy, unreachable=True)
    if problem is not None:
        return Check(check=name, ok=False, found=problem, remedy=version)
    return Check(check=name, ok=True, found=f"schema {version}, of this build")


def _schema(connection: Connection, service: str) -> tuple[str | None, str]:
    """What is wrong with the schema and what mends it; or nothing, and the version."""
    scripts = ScriptDirectory.from_config(migrations_of(service, connection))
    head = scripts.get_current_head() or ""
    start = f"start a worker of this build, which brings it to {head}: `worker.py --service {service}`"
    if not inspect(connection).has_table("alembic_version"):
        return "it has no schema", start
    version = str(connection.scalar(text("SELECT version_num FROM alembic_version")))
    if version == head:
        return None, version
    if version in {script.revision for script in scripts.walk_revisions()}:
        return f"schema {version}, and this build needs {head}", start
    return f"schema {version}, which is newer than this build's {head}", "use the build of the workers"
