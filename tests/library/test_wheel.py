"""The wheel in an empty environment: what the documentation says to type, with nothing of the checkout on the path."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution, requires
from pathlib import Path
from uuid import uuid4

import pytest
from packaging.requirements import Requirement

_ROOT = Path(__file__).parents[2]
_TRIP = _ROOT / "examples/trip/trip.py"
_TIMEOUT_S = 100
pytestmark = [pytest.mark.long, pytest.mark.processes, pytest.mark.xdist_group("embedded")]


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, without the variables that lead Python back to the checkout."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    return subprocess.run(  # noqa: PLW1510 — the tests look at the exit code
        [*map(str, command)], cwd=cwd, env=clean | environment, capture_output=True, text=True, timeout=_TIMEOUT_S
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, because a build writes into its source."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "LICENSE", "docs/library/README.md"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_ROOT / name, source / name)
    shutil.copytree(_ROOT / "temporal_saga", source / "temporal_saga", ignore=shutil.ignore_patterns("__pycache__"))
    built = run(sys.executable, "-m", "build", "--no-isolation", "--wheel", source, cwd=source)
    assert built.returncode == 0, built.stderr
    [found] = (source / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and what it depends on."""
    where = tmp_path_factory.mktemp("empty")
    assert run(sys.executable, "-m", "venv", "--without-pip", where / "venv", cwd=where).returncode == 0
    [packages] = (where / "venv/lib").glob("python*/site-packages")
    for name in _needed_by("temporalio"):
        for top in {file.parts[0] for file in distribution(name).files or ()} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    interpreter = where / "venv/bin/python"
    pip = (sys.executable, "-m", "pip", "--python", interpreter)
    installed = run(*pip, "install", "--quiet", "--no-index", wheel, cwd=where)
    assert installed.returncode == 0, installed.stderr
    return interpreter


def _needed_by(name: str) -> set[str]:
    """A distribution and all that it depends on. They are linked from this environment: to copy them takes long."""
    direct = [Requirement(line) for line in requires(name) or ()]
    wanted = [each.name for each in direct if each.marker is None or each.marker.evaluate({"extra": ""})]
    return {name}.union(*map(_needed_by, wanted))


def test_the_wheel_holds_the_package_alone_typed_and_without_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"temporal_saga", f"temporal_saga-{_version(wheel)}.dist-info"}
    assert "temporal_saga/py.typed" in names


def test_the_wheel_depends_on_temporalio_alone(python: Path, tmp_path: Path) -> None:
    program = "from importlib.metadata import requires; print(*requires('temporal-saga'), sep='\\n')"
    needed = [line for line in run(python, "-c", program, cwd=tmp_path).stdout.splitlines() if "extra ==" not in line]
    assert [re.split(r"[^a-z]", line)[0] for line in needed] == ["temporalio"]


def test_it_imports_nothing_but_temporalio_and_the_standard_library(python: Path, tmp_path: Path) -> None:
    """Neither its command nor its harness needs pytest, nor any of it SQLAlchemy."""
    program = (
        "import sys, temporalio.client, temporalio.envconfig, temporalio.plugin, temporalio.testing\n"
        "before = set(sys.modules)\nimport temporal_saga.__main__, temporal_saga.fence.arrival, temporal_saga.testing\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    said = run(python, "-c", program, cwd=tmp_path)
    assert set(said.stdout.split()) <= {"temporal_saga", "temporalio"}, said.stdout + said.stderr


def test_the_quick_start_books_a_trip(python: Path, embedded: str, tmp_path: Path) -> None:
    city = f"Rome-{uuid4().hex[:6]}"
    said = run(python, _TRIP, city, embedded, cwd=tmp_path)
    assert said.stdout.splitlines() == [
        f"flight to {city} booked",
        f"hotel in {city} booked",
        f"car in {city} rented",
        f"to {city}: CONFIRMED",
    ], said.stderr


def test_the_quick_start_undoes_a_trip_in_reverse(python: Path, embedded: str, tmp_path: Path) -> None:
    said = run(python, _TRIP, "Atlantis", embedded, cwd=tmp_path)
    assert said.stdout.splitlines() == [
        "flight to Atlantis booked",
        "hotel in Atlantis booked",
        "hotel in Atlantis cancelled",
        "flight to Atlantis cancelled",
        "no trip, NO_CARS: no roads in Atlantis",
    ], said.stderr
    known = run(python, "-m", "temporal_saga", "register", cwd=tmp_path, TEMPORAL_ADDRESS=embedded)
    assert "SagaState" in json.loads(known.stdout)["registered"], known.stderr


def _version(wheel: Path) -> str:
    return wheel.name.split("-")[1]
