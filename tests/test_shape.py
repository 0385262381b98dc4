"""The shape of the suite: test modules are leaves, and every wait for another process has a bound and fails loudly."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
_PACED = {"choreography/harness.py", "services/service_harness.py", "services/test_errors.py"}
"""Modules whose loops do other work: they deliver events, repeat a call that a busy database refused, or disturb."""


def test_no_module_imports_from_a_test_module() -> None:
    assert [
        f"{path}: {name}"
        for path, tree in _modules()
        for name in _imported(tree)
        if name.rpartition(".")[2].startswith("test_")
    ] == []


def test_no_module_polls_by_hand() -> None:
    """`eventually` is bounded and says what was waited for; a loop of looks and pauses often gives up in silence."""
    loops = [
        (path, node) for path, tree in _modules() for node in ast.walk(tree) if isinstance(node, ast.For | ast.While)
    ]
    assert [f"{path}:{loop.lineno}" for path, loop in loops if path not in _PACED and _is_poll(loop)] == []


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for module in sorted(TESTS.rglob("*.py")):
        yield str(module.relative_to(TESTS)), ast.parse(module.read_text())


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (alias.name for alias in node.names)


def _is_poll(loop: ast.For | ast.While) -> bool:
    """Whether it is `for … in range(…)` or `while <condition>`, with a pause. `while True` is work until a cancel."""
    if isinstance(loop, ast.While) and isinstance(loop.test, ast.Constant):
        return False
    if isinstance(loop, ast.For) and not (isinstance(loop.iter, ast.Call) and _name(loop.iter) == "range"):
        return False
    calls = [node for node in ast.walk(loop) if isinstance(node, ast.Call)]
    return any(_name(call) in ("asyncio.sleep", "time.sleep") and _pause(call) != 0 for call in calls)


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func)


def _pause(call: ast.Call) -> object:
    [seconds] = call.args
    return seconds.value if isinstance(seconds, ast.Constant) else None
