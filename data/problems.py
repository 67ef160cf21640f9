"""The problems that a check of a data set found, and the report that lists them."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Problem(NamedTuple):
    """A problem of a file.

    Attributes:
        severity: `"error"` or `"warning"`.
        path: the file.
        message: `"kind"` or `"kind: detail"`.
    """

    severity: str
    path: Path
    message: str


@dataclass(frozen=True)
class Report:
    """The result of a check.

    Attributes:
        problems: all problems, in the order of the pairs.
        checked: number of pairs that were checked.

    >>> problem = Problem("warning", Path("masks/a.png"), "mask without foreground")
    >>> print(Report((problem,), checked=20))
    checked 20 pairs: 0 errors, 1 warning
    <BLANKLINE>
    1 warning: mask without foreground
      masks/a.png
    """

    problems: tuple[Problem, ...]
    checked: int

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Problems with which a network cannot be trained."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Problems that may be intended."""
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    def __str__(self) -> str:
        return self.text()

    def text(self, limit: int | None = 5) -> str:
        """List the problems by severity and kind, with `limit` files of each kind; None for all."""
        counts = [
            _count(self.checked, "pair"),
            _count(len(self.errors), "error"),
            _count(len(self.warnings), "warning"),
        ]
        lines = ["checked {}: {}, {}".format(*counts)]
        kinds: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for severity, path, message in self.errors + self.warnings:
            kind, _, detail = message.partition(": ")
            kinds.setdefault((severity, kind), []).append((str(path), detail))
        for (severity, kind), files in kinds.items():
            shown = files[:limit]
            width = max(len(path) for path, _ in shown)
            lines += ["", f"{_count(len(files), severity)}: {kind}"]
            lines += [f"  {path:{width}}  {detail}".rstrip() for path, detail in shown]
            if len(files) > len(shown):
                lines.append(f"  and {len(files) - len(shown)} more")
        return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
