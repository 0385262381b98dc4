"""The documentation of the package: its code is run, its reference is whole, every public name is explained."""

import inspect
import re
from functools import cache
from pathlib import Path

import pytest

import temporal_saga

_ROOT = Path(__file__).parents[2]
_PAGES = sorted((_ROOT / "docs/library").glob("*.md"))
_BLOCK = re.compile(r"(?P<before>[^\n]*)\n+```python\n(?P<code>.*?)```", re.DOTALL)
_NOT_RUN = "<!-- not run: "
"""Before a block that no test runs, with the reason."""


@cache
def _sources() -> list[str]:
    """All code that a page may quote, without its indentation."""
    files = [path for folder in ("examples", "tests") for path in (_ROOT / folder).rglob("*.py")]
    return [re.sub(r"^ +", "", path.read_text(), flags=re.MULTILINE) for path in files]


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_every_python_block_is_quoted_from_code_that_a_test_runs_or_says_why_not(page: Path) -> None:
    for found in _BLOCK.finditer(page.read_text()):
        if found["before"].startswith(_NOT_RUN):
            continue
        code = re.sub(r"^ +", "", found["code"].strip(), flags=re.MULTILINE)
        assert any(code in source for source in _sources()), f"no test or example has this code:\n{found['code']}"


def test_the_reference_lists_every_public_name_once() -> None:
    listed = re.findall(r"^::: temporal_saga\.(\w+)$", (_ROOT / "docs/library/reference.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(temporal_saga.__all__)


def test_the_site_has_every_page() -> None:
    navigation = (_ROOT / "mkdocs.yml").read_text()
    assert [page.name for page in _PAGES if f": {page.name}\n" not in navigation] == []


def test_every_public_name_and_method_has_a_docstring() -> None:
    silent = []
    for name in temporal_saga.__all__:
        value = getattr(temporal_saga, name)
        if inspect.isfunction(value):
            silent += [] if value.__doc__ else [name]
        elif inspect.isclass(value):
            made_by_dataclass = f"{name}("
            silent += [name] if not value.__doc__ or value.__doc__.startswith(made_by_dataclass) else []
            silent += [f"{name}.{method}" for method, code in vars(value).items() if _is_silent(method, code)]
    assert silent == []


def _is_silent(method: str, code: object) -> bool:
    is_same_as_the_sagas = method in vars(temporal_saga.Saga)  # a plan has the saga's verbs
    return inspect.isfunction(code) and not method.startswith("_") and not code.__doc__ and not is_same_as_the_sagas


def test_the_quick_start_is_the_example_and_under_sixty_lines_long() -> None:
    trip = (_ROOT / "examples/trip/trip.py").read_text()
    assert f"```python\n{trip}```" in (_ROOT / "docs/library/README.md").read_text()
    assert len(trip.splitlines()) < 60
