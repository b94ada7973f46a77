"""The house stays as it was drawn: one direction of imports, short functions, a quick start."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRODUCT = [ROOT / "service", ROOT / "verifier", ROOT / "clients/python/surefoot"]
FILES = sorted(chain.from_iterable(folder.rglob("*.py") for folder in PRODUCT))
HEAVY = (
    "fastapi",
    "httpx2",
    "uvicorn",
    "sqlalchemy",
    "alembic",
    "xllamacpp",
    "sympy",
    "torch",
    "numpy",
    "pebble",
)


def test_imports_point_one_way_and_in_no_circle() -> None:
    lint = Path(sys.executable).with_name("lint-imports")

    result = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout


def functions() -> list[tuple[int, str]]:
    found = []
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                found.append((lines, f"{file.name}:{node.name}"))
    return sorted(found)


def test_functions_are_short() -> None:
    lengths = functions()

    assert lengths[int(0.95 * len(lengths))][0] <= 40
    assert lengths[-1][0] <= 60, lengths[-1]


def code_lines(file: Path) -> int:
    """Lines that hold code: neither blank, nor a comment, nor a docstring."""
    text = file.read_text(encoding="utf-8")
    prose: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            prose.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") and number not in prose
        for number, line in lines
    )


def test_the_product_stays_small() -> None:
    """What serves, and what makes verifiers, each by itself."""
    making = {f for f in FILES if "training" in f.parts or f.name in ("workshop.py", "progress.py")}

    assert sum(code_lines(file) for file in FILES if file not in making) < 10450
    assert sum(map(code_lines, making)) < 2470


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["version"],
        ["serve", "--help"],
        ["verifier", "--help"],
        ["doctor", "--help"],
        ["bench", "--help"],
        ["loadtest", "--help"],
        ["traces", "list", "--help"],
        ["batch", "--help"],
    ],
    ids=str,
)
def test_the_command_line_starts_without_what_it_does_not_need(arguments: list[str]) -> None:
    program = (
        f"import sys; sys.argv = ['surefoot', *{arguments!r}]\nfrom surefoot.cli import main\n"
    )
    probe = (
        f"try: main()\nfinally: print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )

    result = subprocess.run(
        [sys.executable, "-c", program + probe], capture_output=True, text=True, check=False
    )

    assert result.stderr.strip().splitlines()[-1] == "[]"


def test_help_comes_at_once() -> None:
    """The target is half a second on an idle machine; the best of three forgives a busy one."""
    command = [str(Path(sys.executable).with_name("surefoot")), "--help"]

    took = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        took.append(time.perf_counter() - began)

    assert min(took) < 0.5
