"""Find the group of each image by a regular expression, such as the number of a patient."""

import json
import subprocess
import sys
from collections.abc import Iterable

from polypseg.errors import InputError

from .listed import some


def group_names(stems: Iterable[str], pattern: str) -> dict[str, str]:
    """The group of each stem, by a regular expression.

    Args:
        stems: names of images without suffix.
        pattern: a regular expression, which is searched in each stem. The name of the group is the
            match of the first capturing group, or the complete match if there is none.

    Raises:
        InputError: `pattern` is no regular expression, takes too long, or does not match some text
            in every stem.

    >>> group_names(["PANCREAS_0001-1106", "PANCREAS_0002-0033"], r"^[^-]+")
    {'PANCREAS_0001-1106': 'PANCREAS_0001', 'PANCREAS_0002-0033': 'PANCREAS_0002'}
    """
    stems = list(stems)
    groups = dict(zip(stems, _search(pattern, stems), strict=True))
    unmatched = [stem for stem in stems if not groups[stem]]
    if unmatched:
        raise InputError(
            f"expected {pattern!r} to match some text in every stem, got none in {some(unmatched)}"
        )
    return {stem: group or "" for stem, group in groups.items()}


# Python cannot stop a search that takes years, as `(a+)+$` may, so it runs in another process.
_SEARCH = """
import json, re, sys
pattern, stems = json.load(sys.stdin)
try:
    expression = re.compile(pattern)
    first = min(expression.groups, 1)
    matches = map(expression.search, stems)
    answer = {"groups": [match and match[first] for match in matches]}
except Exception as error:
    answer = {"error": str(error) or type(error).__name__}
json.dump(answer, sys.stdout)
"""


def _search(pattern: str, stems: list[str], seconds: float = 5) -> list[str | None]:
    """What the pattern matches in each stem, as `group_names` describes it; None for nothing."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _SEARCH],
            input=json.dumps([pattern, stems]).encode(),
            capture_output=True,
            timeout=seconds,
        )
        answer = json.loads(done.stdout or '{"error": "it needs too much memory"}')
    except subprocess.TimeoutExpired:
        raise InputError(
            f"expected a regular expression that is quick, got {pattern!r}, which was stopped after"
            f" {seconds:g} seconds; repetitions inside repetitions, as in (a+)+, are slow"
        ) from None
    if "error" in answer:
        raise InputError(f"expected a regular expression, got {pattern!r} ({answer['error']})")
    return answer["groups"]
