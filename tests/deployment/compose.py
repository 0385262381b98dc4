"""A reader of the deployment's files that follows Docker Compose and `docker build`."""

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML

PROJECT = Path(__file__).parents[2]
COMPOSE_FILE = PROJECT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<rule>:[-?][^}]*)?\}")

Definition = dict[str, Any]


@cache
def services() -> dict[str, Definition]:
    return cast("dict[str, Definition]", YAML(typ="safe").load(COMPOSE_FILE)["services"])


def workers() -> dict[str, str]:
    """The services that run `worker.py`, each with the task queue that it serves."""
    found = {}
    for name, service in services().items():
        match service.get("command"):
            case ["python", "worker.py", "--service", queue]:
                found[name] = str(queue)
    return found


def environment(service: Definition, variables: Mapping[str, str]) -> dict[str, str]:
    return {name: interpolated(value, variables) for name, value in service.get("environment", {}).items()}


def interpolated(value: str, variables: Mapping[str, str]) -> str:
    """`value` with `${NAME:?message}` and `${NAME:-default}` replaced."""

    def fill(variable: re.Match[str]) -> str:
        name, rule = variable["name"], variable["rule"] or ":?"
        if variables.get(name):
            return variables[name]
        if rule.startswith(":-"):
            return rule.removeprefix(":-")
        raise AssertionError(f"{name} is not set: {rule.removeprefix(':?')}")

    return _VARIABLE.sub(fill, value)


def variables_in(text: str) -> dict[str, str]:
    """Every variable that is interpolated, with the rule for a missing value."""
    return {found["name"]: found["rule"] or "" for found in _VARIABLE.finditer(text)}


def bind_mounts(service: Definition) -> dict[str, Path]:
    """The files of the project by their path in the container. Named volumes are left out."""
    mounts = (str(volume).split(":") for volume in service.get("volumes", []))
    return {mount[1]: PROJECT / mount[0] for mount in mounts if mount[0].startswith(".")}


@dataclass(frozen=True)
class Copy:
    """A `COPY` of the last stage from the project."""

    sources: tuple[str, ...]
    target: str


def image_copies() -> list[Copy]:
    return list(_copies((PROJECT / "Dockerfile").read_text()))


def _copies(dockerfile: str) -> Iterator[Copy]:
    last_stage = dockerfile[dockerfile.rindex("\nFROM ") :]
    for line in last_stage.splitlines():
        match line.split():
            case ["COPY", first, *rest] if not first.startswith("--"):
                yield Copy((first, *rest[:-1]), rest[-1])


def lay_out_image(folder: Path) -> None:
    """Copy into `folder` the files that the Dockerfile copies into /app, for a directory its content as Docker does."""
    for copy in image_copies():
        target = folder / copy.target
        target.mkdir(parents=True, exist_ok=True)
        for source in copy.sources:
            origin = PROJECT / source
            if origin.is_dir():  # with its bytecode, or each process would compile all of it
                shutil.copytree(origin, target, dirs_exist_ok=True)
            else:
                shutil.copy(origin, target)
