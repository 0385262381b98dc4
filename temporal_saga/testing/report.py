"""The cases of a whole check, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from temporal_saga.testing.verdict import Verdict


@dataclass(frozen=True)
class Report:
    """The verdicts of all cases, in order. `str` of it is a table with a line for each case."""

    verdicts: Sequence[Verdict]

    @property
    def is_good(self) -> bool:
        return all(verdict.is_good for verdict in self.verdicts)

    @property
    def problems(self) -> list[Verdict]:
        """The verdicts of the cases in which something is wrong."""
        return [verdict for verdict in self.verdicts if not verdict.is_good]

    def __str__(self) -> str:
        width = max((len(verdict.case.name) for verdict in self.verdicts), default=0)
        lines = [line for verdict in self.verdicts for line in _lines(verdict, width)]
        return "\n".join([*lines, f"{len(self.verdicts)} cases, {len(self.problems)} with problems"])


def _lines(verdict: Verdict, width: int) -> list[str]:
    mark = "ok " if verdict.is_good else "BAD"
    problems = [f"{'':{width + 6}}{problem}" for problem in verdict.problems]
    return [f"{mark} {verdict.case.name:{width}}  {verdict.end}", *problems]
