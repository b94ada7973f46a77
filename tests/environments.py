"""Environments that real clients run in: one each, pinned, made once and kept in the user's cache.

A folder's `requirements.txt`, or its `package-lock.json`, names every package with its version; the
environment is found again by the hash of it. Which registry they come from is pip's and npm's own
configuration. What is not done: environments of old hashes are left in the cache.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

CACHE = Path("~/.cache/surefoot/clients").expanduser()


def command(folder: Path) -> list[str]:
    """What runs a folder's `ask` script in its environment, which is made if it is not there."""
    if (folder / "package.json").exists():
        place = _made(folder, "package-lock.json")
        script = place / "ask.mjs"  # node looks for packages beside it
        shutil.copyfile(folder / "ask.mjs", script)
        return ["node", str(script)]
    return [str(_made(folder, "requirements.txt") / "bin/python"), str(folder / "ask.py")]


def _made(folder: Path, pins: str) -> Path:
    digest = hashlib.sha256((folder / pins).read_bytes() + sys.version.encode()).hexdigest()
    place = CACHE / f"{folder.name}-{digest[:12]}"
    done = place / "made"
    if not done.exists():
        make = _node if pins == "package-lock.json" else _python
        make(folder, place)
        done.touch()
    return place


def _python(folder: Path, place: Path) -> None:
    venv.create(place, clear=True, with_pip=True)
    pip = [str(place / "bin/python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    _run([*pip, "-r", str(folder / "requirements.txt")])


def _node(folder: Path, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(folder / name, place)
    _run(["npm", "ci", "--no-audit", "--no-fund", "--prefix", str(place)])


def _run(command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
