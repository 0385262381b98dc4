"""What is left to do for a service: each place with a list by hand that does not name it, with the text to add there.

`tests/test_catalogue.py` holds every service to it; `make new-service` prints it.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from temporal_saga import Operation

ROOT = Path(__file__).parents[2]


def left_to_do(service: str) -> list[str]:
    """Sentences, each with a file and what to add to it; none if every place knows the service."""
    contract = import_module(f"contracts.{service}")
    unknown = list(_in_catalogues(service))
    known = [] if unknown else _in_service(service)
    return [*unknown, *known, *_in_code(service, contract), *_in_deployment(service), *_in_documents(service, contract)]


def operations_of(contract: ModuleType) -> list[Operation[Any, Any]]:
    return [declared for declared in vars(contract).values() if isinstance(declared, Operation)]


def row_of(operation: Operation[Any, Any]) -> str:
    """The row of an operation in docs/operations.md."""
    relation = f"`{operation.undoes.name}`" if operation.undoes else ""
    relation = f"acts on `{operation.acts_on.name}`" if operation.acts_on else relation
    fields = ", ".join(
        f"`{name}`{'' if field.is_required() else '?'}" for name, field in operation.request.model_fields.items()
    )
    return f"| `{operation.name}` | {relation} | `{operation.queue}` | `{operation.request.__name__}`: {fields} |"


def _in_catalogues(service: str) -> Iterator[str]:
    if not re.search(rf"SERVICES.* = \(.*\b{service}\b", _text("contracts/catalogue.py")):
        yield f"contracts/catalogue.py: import {service}, and add it to SERVICES"
    definition = service.upper()
    if not re.search(rf"for definition in \(.*\b{definition}\b", _text("activities/catalogue.py")):
        yield f"activities/catalogue.py: import {definition} from activities.{service}, and add it to SERVICES"


def _in_service(service: str) -> list[str]:
    """What `tests/services/gaps.py` finds, which can be imported once the files of the service fit together."""
    try:
        found: list[str] = import_module("tests.services.gaps").gaps_of(service)
    except ImportError as error:
        files = [frame.filename for frame in extract_tb(error.__traceback__) if frame.filename.startswith(str(ROOT))]
        return [f"{Path(files[-1]).relative_to(ROOT)}: {error.msg}: make the two fit"]
    return found


def _in_code(service: str, contract: ModuleType) -> Iterator[str]:
    steps = contract.facts.steps if hasattr(contract, "facts") else ()
    for step in steps:
        verb, process = step.name.partition(".")[2], _text("workflows/order.py")
        if f"saga.step({service}.{verb}," not in process:
            undo = next((each.name for each in operations_of(contract) if each.undoes is step), "its undo")
            yield (
                f"workflows/order.py: give Requests a {step.request.__name__}, fill it in Requests.of, and add to "
                f'prepare: if saga.patched("{service}"): await saga.step({step.name}, requests.…, undo={undo})'
            )
    rules = tomllib.loads(_text("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    [siblings] = (rule["modules"] for rule in rules if rule["type"] == "independence")
    if f"activities.{service}" not in siblings:
        yield f'pyproject.toml: add "activities.{service}" to the rule "A service never sees its siblings"'
    known = json.loads(_text("tests/wire/messages.json"))
    if any(each.request.__name__ not in known for each in operations_of(contract)):
        yield "tests/wire/messages.json: run .venv/bin/python -m tests.wire"


def _in_deployment(service: str) -> Iterator[str]:
    if f'"--service", "{service}"]' not in _text("docker-compose.yml"):
        yield (
            f"docker-compose.yml: add the worker {service}: {{<<: *worker, "
            f'command: ["python", "worker.py", "--service", "{service}"]}}'
        )
    if f"('{service}', 'services')" not in _text("deploy/databases.sql"):
        yield f"deploy/databases.sql: add ('{service}', 'services') to the databases"
    if f'task_queue="{service}"' not in _text("deploy/alerts.yml"):
        yield f'deploy/alerts.yml: add to NoWorker: or absent(temporal_num_pollers{{task_queue="{service}"}})'
    fired, _, unscraped = _text("deploy/alerts_test.yml").partition("nothing is scraped")
    series = f"{{series: 'temporal_num_pollers{{task_queue=\"{service}\"}}', values: 2x300}}"
    if f'temporal_num_pollers{{task_queue="{service}"}}' not in fired:
        yield f"deploy/alerts_test.yml: add to the first input_series: - {series}"
    sample = f'{{labels: \'{{alertname="NoWorker", task_queue="{service}"}}\', value: 1}}'
    if sample not in unscraped:
        yield f'deploy/alerts_test.yml: add to the exp_samples of "nothing is scraped": - {sample}'
    if not re.search(rf"names: .*\b{service}\b", _text("deploy/prometheus.yml")):
        yield f"deploy/prometheus.yml: add {service} to the names"


def _in_documents(service: str, contract: ModuleType) -> Iterator[str]:
    loops = re.findall(r"^ *for service in (.*); do$", _text("docs/runbook.md"), re.MULTILINE)
    missing = sum(service not in loop.split() for loop in loops)
    if missing:
        yield f'docs/runbook.md: add {service} to {missing} loops "for service in {loops[0]}"'
    listed = _text("docs/operations.md")
    for operation in operations_of(contract):
        if f"| `{operation.name}` |" not in listed:
            yield f"docs/operations.md: add the row {row_of(operation)}"


def _text(file: str) -> str:
    return (ROOT / file).read_text()
