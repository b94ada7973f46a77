"""Environments that others' packages run in: one each, pinned, made once and kept in the cache.

A `requirements.txt` names every package with its version; the environment is found again by the
hash of it. Which registry they come from is pip's own configuration. What is not done: environments
of old hashes are left in the cache.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

from service.errors import StartupError

CACHE = Path("~/.cache/surefoot/environments").expanduser()


def python(requirements: Path, name: str, *, whole: bool = True) -> Path:
    """The interpreter of the environment, which is made if it is not there.

    If the pins are not the `whole` of it, what they want beside is installed too: torch's builds
    for GPUs want other packages than those without. Raises `StartupError` if it cannot be made.
    """
    place = CACHE / f"{name}-{digest(requirements)}"
    done = place / "made"
    if not done.exists():
        venv.create(place, clear=True, with_pip=True)
        pip = [str(place / "bin/python"), "-m", "pip", "install", "--quiet"]
        pip += ["--no-deps"] if whole else []
        ended = subprocess.run(
            [*pip, "-r", str(requirements)], capture_output=True, text=True, check=False
        )
        if ended.returncode:
            raise StartupError(f"{name} cannot be installed: {ended.stderr.strip()}")
        done.touch()
    return place / "bin/python"


def digest(pins: Path) -> str:
    """What an environment goes by: its pins and the Python that it was made with."""
    return hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]
