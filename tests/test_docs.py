"""The README is true: every setting, route, error, knob and command stands in it."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from fastapi.routing import APIRoute
from typer.main import get_command

from bench import commands as benchmarks
from bench.load import commands as loading
from service import errors, workshop
from service.openai.request import ChatRequest
from service.openai.responses import ResponsesRequest
from service.routes import chat, health, metrics, models, responses, solve, traces
from service.settings import Named, Settings
from service.strategies import STRATEGIES
from surefoot.batchfile import URLS
from surefoot.cli import app
from verifier.prms import PRMS
from verifier.prms.prm import RUNNER

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPENAI = (ROOT / "docs/openai.md").read_text(encoding="utf-8")
CLIENTS = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
VERIFIERS = (ROOT / "docs/verifiers.md").read_text(encoding="utf-8")
VLLM = (ROOT / "docs/vllm.md").read_text(encoding="utf-8")
TRACES = (ROOT / "docs/traces.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_with_its_default(name: str) -> None:
    assert f"`SUREFOOT_{name.upper()}`" in README


def test_every_route_is_documented() -> None:
    for served in (solve, chat, responses, models, traces, health, metrics):
        for route in served.router.routes:
            assert isinstance(route, APIRoute)
            for method in route.methods or ():
                assert f"`{method} {route.path.replace(':path', '')}`" in README


def error_codes() -> set[str]:
    found = [errors.ServiceError]
    for error in found:
        found.extend(error.__subclasses__())
    return {error.code for error in found if error is not errors.StartupError}


@pytest.mark.parametrize("code", sorted(error_codes()))
def test_every_error_code_is_documented(code: str) -> None:
    assert f"`{code}`" in README


def test_every_field_of_openais_api_has_a_row() -> None:
    rows = "".join(re.findall(r"^\| ([^|]+) \|", OPENAI, re.MULTILINE))
    for field in {*ChatRequest.model_fields, *ResponsesRequest.model_fields}:
        assert f"`{field}`" in rows, field


def test_every_real_client_stands_on_its_page_with_its_version_and_test() -> None:
    tests = (ROOT / "tests/clients/test_real_clients.py").read_text(encoding="utf-8")
    for named in re.findall(r"`(test_[a-z0-9_]+)`", CLIENTS):
        assert f"def {named}(" in tests, named
    pins = [
        line
        for file in (ROOT / "tests/clients/real").glob("*/requirements.txt")
        for line in file.read_text(encoding="utf-8").replace("_", "-").splitlines()
    ]
    held = re.findall(r"^\| `([a-z-]+)`(?:, sync and async)? \| ([\d.]+) \|", CLIENTS, re.MULTILINE)
    assert len(held) >= 8
    for name, version in held:
        assert {f"{name}=={version}", f"{name}-slim=={version}"} & set(pins), name


def test_every_test_that_the_page_names_is_there() -> None:
    folder = ROOT / "tests/service/openai"
    tests = "".join(file.read_text(encoding="utf-8") for file in folder.glob("test_*.py"))
    named = re.findall(r"`(test_[a-z0-9_]+)`", OPENAI)
    assert len(named) > 20
    for test in named:
        assert f"def {test}(" in tests, test


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_and_knob_is_documented(name: str) -> None:
    for knob in fields(STRATEGIES[name]):
        assert f"`{name}`" in README
        assert knob.name == "name" or f"`{knob.name}`" in README


def test_every_command_is_documented() -> None:
    commands = getattr(get_command(app), "commands", {})
    assert {"serve", "solve", "models", "version"} <= set(commands)
    for command in commands:
        assert f"surefoot {command}" in README


def test_the_page_on_batches_names_routes_options_and_exit_codes() -> None:
    page = (ROOT / "docs/batch.md").read_text(encoding="utf-8")
    command = getattr(get_command(app), "commands", {})["batch"]
    options = [name for each in command.params for name in each.opts if name.startswith("--")]

    for name in (*URLS, *(name for name in options if name != "--help")):
        assert name in page, name
    for code in re.findall(r"(\d) [a-z]", command.help.split("Exit codes:")[1]):
        assert f"| {code} |" in page, code


def test_every_command_for_traces_is_documented() -> None:
    group = getattr(get_command(app), "commands", {})["traces"]
    assert {"list", "show", "export", "delete", "rescore"} == set(group.commands)
    for command in group.commands:
        assert f"surefoot traces {command}" in TRACES


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if "traces" in name])
def test_the_page_on_traces_explains_its_settings(name: str) -> None:
    assert f"`SUREFOOT_{name.upper()}`" in TRACES


def test_the_page_on_vllm_names_what_is_set_in_its_environment() -> None:
    core = (ROOT / "service/engines/vllm/core.py").read_text(encoding="utf-8")
    for name in re.findall(r'"(VLLM_\w+)"', core):
        assert f"`{name}`" in VLLM, name


def test_every_command_that_makes_a_verifier_is_documented() -> None:
    for command in getattr(get_command(workshop.verifier), "commands", {}):
        assert f"verifier {command}" in README or f"`{command}`" in README


def test_every_bench_is_documented() -> None:
    for file in (ROOT / "bench").glob("[!_]*.py"):
        if "__main__" in file.read_text(encoding="utf-8"):
            assert f"python -m bench.{file.stem}" in README


def test_the_page_on_benchmarks_names_every_option() -> None:
    page = (ROOT / "docs/bench.md").read_text(encoding="utf-8")
    for name, command in getattr(get_command(benchmarks.bench), "commands", {}).items():
        assert f"surefoot bench {name}" in page
        options = [each for option in command.params for each in option.opts if each[:2] == "--"]
        for option in options:
            assert option == "--help" or f"`{option}" in page, option


def test_the_page_on_load_names_every_option_and_mix() -> None:
    page = (ROOT / "docs/load.md").read_text(encoding="utf-8")
    for name, command in getattr(get_command(loading.loadtest), "commands", {}).items():
        assert f"surefoot loadtest {name}" in page
        options = [each for option in command.params for each in option.opts if each[:2] == "--"]
        for option in options:
            assert option == "--help" or f"`{option}" in page, option
    for mix in (ROOT / "bench/load/mixes").glob("*.toml"):
        assert f"`{mix.stem}`" in page


@pytest.mark.parametrize("name", PRMS)
def test_the_page_on_verifiers_serves_a_reward_model_as_we_run_it(name: str) -> None:
    prm = PRMS[name]
    commands = [shlex.split(line) for line in VERIFIERS.splitlines() if line.startswith("vllm")]
    (command,) = (command for command in commands if prm.hub in command)

    told = dict(zip(command[3::2], command[4::2], strict=True))
    for argument, value in {**prm.arguments, **RUNNER}.items():
        said = told[f"--{argument.replace('_', '-')}"]
        assert value == (json.loads(said) if said.startswith("{") else said)
    assert re.search(rf"^\| `{name}` \|.*\| `{prm.aggregate}` \|$", VERIFIERS, re.MULTILINE)


def test_every_verifier_by_name_stands_on_its_page_and_every_test_there_is_one() -> None:
    tests = "".join(
        file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py")
    )
    assert set(get_args(Named)) == {"psv", "judge", *PRMS}
    for name in get_args(Named):
        assert f"| `{name}` |" in VERIFIERS
    for test in re.findall(r"`(test_[a-z0-9_]+)`", VERIFIERS):
        assert f"def {test}(" in tests, test


def test_every_dependency_is_argued_for() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = project.split("dependencies = [")[1].split("dev = [")[0]
    for name in re.findall(r'^ *"([a-z0-9-]+)[^"]*",', listed, re.MULTILINE):
        assert name in README, name


def test_every_threat_has_a_control_and_a_test_that_is_there() -> None:
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    table = page.split("|---|---|---|")[1]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE)
    files = (ROOT / "tests").rglob("test_*.py")
    tests = "".join(file.read_text(encoding="utf-8") for file in files)
    assert len(rows) == table.split("\n\n")[0].count("\n") > 25
    for threat, _, shown in rows:
        assert shown.startswith("`test_"), threat
        for test in re.findall(r"`(\w+)`", shown):
            assert f"def {test}(" in tests, test
