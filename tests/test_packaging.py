"""What is installed under which name: two wheels, and no name that is not ours to take."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import surefoot
from verifier.adapter import SHIPPED

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("project", "names"),
    [(ROOT, {"service", "verifier", "bench"}), (ROOT / "clients/python", {"surefoot"})],
)
def test_a_wheel_holds_its_own_packages_typed_and_no_others(
    project: Path, names: set[str], tmp_path: Path
) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path)]
    subprocess.run([*build, str(project)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")

    files = zipfile.ZipFile(wheel).namelist()

    assert names == {name.split("/")[0] for name in files if ".dist-info" not in name}
    if "service" in names:
        shipped = f"verifier/weights/{SHIPPED.name}"
        assert {"service/catalogue.toml", "service/py.typed", "verifier/py.typed"} <= set(files)
        assert {"bench/report/page.html.j2", "bench/peers/optillm/requirements.txt"} <= set(files)
        load = "bench/load"
        assert {f"{load}/mixes/soak.toml", f"{load}/witnesses/vllm/ask.py"} <= set(files)
        migrations = "service/traces/migrations"
        assert {f"{migrations}/env.py", f"{migrations}/versions/v0001.py"} <= set(files)
        assert {f"{shipped}/adapter.gguf", f"{shipped}/verifier.json"} <= set(files)
    else:
        assert "surefoot/py.typed" in files


def test_the_versions_agree() -> None:
    versions = {
        tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        for folder in (ROOT, ROOT / "clients/python")
    }

    assert {surefoot.__version__} == versions


def test_the_server_is_not_for_an_index() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert "Private :: Do Not Upload" in project["classifiers"]
