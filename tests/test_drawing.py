"""One set of colours, and text that stays in its place, on sheets and panels."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def colour_literals(code):
    """Source of each RGB triple and hex colour in Python code.

    No colours are triples that are unpacked or iterated over at once, and, but for black, those
    below 16: shapes and axes.
    """
    nodes, found = list(ast.walk(ast.parse(code))), []
    others = [node.iter for node in nodes if isinstance(node, (ast.For, ast.comprehension))]
    others += [
        node.value
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple)
    ]
    for node in nodes:
        if isinstance(node, (ast.Tuple, ast.List)) and node not in others:
            values = [getattr(item, "value", None) for item in node.elts]
            if len(values) == 3 and all(type(value) is int for value in values):
                if max(values) <= 255 and (max(values) >= 16 or not any(values)):
                    found.append(ast.unparse(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += re.findall(r"#(?:[0-9a-fA-F]{3}){1,2}\b", node.value)
    return found


@pytest.mark.parametrize(
    "code, found",
    [
        ("draw(page, (0, 0, 0))", ["(0, 0, 0)"]),
        ("A, B = (1, 2, 3), (18, 184, 134)", ["(18, 184, 134)"]),
        ("def f(colour=[255, 255, 255]): pass", ["[255, 255, 255]"]),
        ("f(color='#2563eb')", ["#2563eb"]),
        ("style = f'color: #fff; width: {w}'", ["#fff"]),
        ("np.zeros((8, 8, 3)); x.mean((1, 2, 3)); (4, 2, 256); (80, 60); '# 12'", []),
        ("pad, head, foot = 12, 44, 26\nfor batch in (1, 8, 32): pass", []),
    ],
)
def test_colour_literals_are_found(code, found):
    assert colour_literals(code) == found


def test_colours_have_one_owner():
    for path in (ROOT / "polypseg").rglob("*.py"):
        found = colour_literals(path.read_text())
        if path == ROOT / "polypseg" / "drawing" / "colours.py":
            assert "(60, 255, 110)" in found
        else:
            assert not found, f"{path}: name {found} in polypseg/drawing/colours.py"
