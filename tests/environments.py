"""Environments that real clients run in: one each, pinned, made once and kept in the user's cache.

Of Python they are those of `bench.peers.environment`; of node a folder's `package-lock.json` names
every package with its version. Which registry they come from is pip's and npm's own configuration.
What is not done: environments of old hashes are left in the cache.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench.peers import environment


def command(folder: Path) -> list[str]:
    """What runs a folder's `ask` script in its environment, which is made if it is not there."""
    if (folder / "package.json").exists():
        script = _node(folder) / "ask.mjs"  # node looks for packages beside it
        shutil.copyfile(folder / "ask.mjs", script)
        return ["node", str(script)]
    interpreter = environment.python(folder / "requirements.txt", folder.name)
    return [str(interpreter), str(folder / "ask.py")]


def _node(folder: Path) -> Path:
    digest = environment.digest(folder / "package-lock.json")
    place = environment.CACHE / f"{folder.name}-{digest}"
    done = place / "made"
    if not done.exists():
        place.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(folder / name, place)
        npm = ["npm", "ci", "--no-audit", "--no-fund", "--prefix", str(place)]
        ended = subprocess.run(npm, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        done.touch()
    return place
