"""`make audit` says what it found, and what it could not look for; tools played by scripts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).parents[1] / "scripts/audit.py"
CLEAN = {"name": "fastapi", "version": "1", "vulns": []}
UNKNOWN = {"name": "uvicorn", "skip_reason": "not found"}


def hole(*fixes: str) -> dict[str, Any]:
    return {"name": "starlette", "version": "1", "vulns": [{"id": "CVE-0", "fix_versions": fixes}]}


def audit(folder: Path, served: object, others: object) -> tuple[int, str, dict[str, Any]]:
    """Exit code, what was said, and the bill."""
    component = {"bom-ref": "a", "name": "FastAPI"}, {"bom-ref": "b", "name": "pytest"}
    bill = {"components": component, "dependencies": [{"ref": "a"}, {"ref": "b"}]}
    answers = [json.dumps(each) if each else "no route to host" for each in (served, others)]
    play(folder / "pip-audit", f"print({answers!r}['pytest==' in open(sys.argv[2]).read()])")
    play(folder / "cyclonedx-py", f"print({json.dumps(bill)!r})")

    command = [sys.executable, *map(str, (AUDIT, folder, folder / "new/sbom.json"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, json.loads((folder / "new/sbom.json").read_text())


def play(file: Path, program: str) -> None:
    file.write_text(f"#!{sys.executable}\nimport sys\n{program}\n", encoding="utf-8")
    file.chmod(0o755)


@pytest.mark.parametrize(
    ("served", "others", "code", "said"),
    [
        ([CLEAN], [CLEAN], 0, "The service: 1 packages audited, 0 vulnerabilities"),
        ([CLEAN, hole("2")], [], 1, "starlette 1: CVE-0, mended by 2"),
        ([CLEAN, hole()], [], 0, "starlette 1: CVE-0, mended by nothing yet"),
        ([CLEAN], [hole("2")], 0, "starlette 1: CVE-0, mended by 2"),
        ([CLEAN, UNKNOWN], [], 0, "NOT AUDITED, for nothing is known of them: uvicorn"),
        (None, [CLEAN], 0, "The service: NOT AUDITED"),
        ([CLEAN], None, 0, "Development: NOT AUDITED"),
    ],
    ids=["clean", "mendable", "unmendable", "development", "unknown", "unreached", "half"],
)
def test_only_what_an_upgrade_of_the_service_mends_fails_and_all_is_said(
    tmp_path: Path, served: Any, others: Any, code: int, said: str
) -> None:
    found = [None if each is None else {"dependencies": each} for each in (served, others)]

    exit_code, told, bill = audit(tmp_path, *found)

    assert code == exit_code
    assert said in told
    assert [{"bom-ref": "a", "name": "FastAPI"}] == bill["components"]
    assert [{"ref": "a"}] == bill["dependencies"]
