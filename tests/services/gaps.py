"""What a service lacks of what its contract, its records and the generated tests need, in words."""

from collections.abc import Iterator

from alembic import command
from sqlalchemy import create_engine

from activities.catalogue import SERVICES
from activities.schema import migrations_of
from contracts.catalogue import OPERATIONS

from .databases import schema_problems
from .samples import SAMPLES, missing_sample
from .service_harness import missing_handler


def gaps_of(service: str) -> list[str]:
    """Sentences, each with a file and what it lacks. Both catalogues have the service."""
    return [*_in_operations(service), *_in_schema(service)]


def _in_operations(service: str) -> Iterator[str]:
    handled = {handler.operation for handler in SERVICES[service].handlers}
    answered = {query.operation for query in SERVICES[service].queries}
    for operation in OPERATIONS.values():
        if operation.queue == service and operation not in handled | answered:
            yield missing_handler(operation)
        elif operation in handled and operation.undoes is None and operation.name not in SAMPLES:
            yield missing_sample(operation)


def _in_schema(service: str) -> list[str]:
    with create_engine("sqlite://").begin() as connection:
        command.upgrade(migrations_of(service, connection), "head")
        return schema_problems(service, connection)
