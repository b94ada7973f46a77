"""`vllm serve` as it is, on the CPU, for as long as a test wants it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2

SMALL = {
    "enforce_eager": True,
    "max_model_len": 1024,
    "max_num_seqs": 16,
    "kv_cache_memory_bytes": 256 * 2**20,
    "shutdown_timeout": 0,
}


def flags(arguments: Mapping[str, object]) -> list[str]:
    """Arguments as the command line takes them."""
    found: list[str] = []
    for name, value in arguments.items():
        flag = f"--{name.replace('_', '-')}"
        match value:
            case True:
                found.append(flag)
            case dict():
                found += [flag, json.dumps(value)]
            case _:
                found += [flag, str(value)]
    return found


@contextmanager
def vllm_serving(model: Path, log: Path, arguments: Mapping[str, object]) -> Iterator[str]:
    """Yields its URL when it answers; what it logs goes to `log`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # An engine in this process has set another level, which the server would inherit.
    command = ["env", "VLLM_LOGGING_LEVEL=INFO", sys.executable]
    command += ["-m", "vllm.entrypoints.openai.api_server"]
    command += flags({"model": model, "host": "127.0.0.1", "port": port, **SMALL, **arguments})
    with log.open("w", encoding="utf-8") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        _await(url, server, log)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:  # it hears nothing while it loads
            server.kill()
            server.wait()


def _await(url: str, server: subprocess.Popen[bytes], log: Path, patience: float = 900) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text(encoding="utf-8")[-4000:]
        try:
            if httpx2.get(f"{url}/health", timeout=5).is_success:
                return
        except httpx2.HTTPError:
            time.sleep(0.5)
    raise AssertionError(f"vLLM took too long: {log.read_text(encoding='utf-8')[-4000:]}")
