"""Everything that can be set, read once; the only reader of the environment."""

import os
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, DirectoryPath, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Named = Literal[
    "psv", "judge", "qwen2.5-math-prm", "skywork-o1-prm", "math-shepherd", "rlhflow"
]  # a verifier by its name


class Settings(BaseSettings):
    """Each field is an environment variable of the same name, in capitals behind `SUREFOOT_`."""

    model_config = SettingsConfigDict(
        env_prefix="SUREFOOT_",
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        populate_by_name=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8321, ge=0, le=65535)
    """Port to listen on; 0 picks a free one."""
    keys: str = ""
    """The file of API keys that `surefoot keys` writes: every caller needs one of them. Empty:
    anybody may call who reaches the address."""
    insecure: bool = False
    """Let anybody in who reaches the address, though it is public and there are no keys."""
    engine: Literal["llamacpp", "vllm", "remote", "scripted"] = "llamacpp"
    """Where completions come from."""
    model: str = ""
    """The policy: a catalogue name or a GGUF file (llamacpp); one of these, a folder or a hub name
    (vllm); or the server's name for it (remote). Empty: qwen2.5-coder-1.5b, or the first model the
    server lists."""
    verifier: Named | DirectoryPath = "psv"
    """How steps are scored: psv, the trained verifier that ships; judge, a model that is only
    asked; a process-reward model on vLLM's pooling runner (qwen2.5-math-prm, skywork-o1-prm,
    math-shepherd, rlhflow); or a folder that `surefoot verifier export` wrote. The scripted engine
    brings its own."""
    verifier_model: str = ""
    """The verifier's model: a catalogue name, a GGUF file, or what the server at verifier_url calls
    it; of a process-reward model a folder or a hub name. Empty: qwen2.5-coder-0.5b, the adapter's
    base, or the process-reward model itself. At verifier_url, the adapter's own name
    (psv: psv-qwen2.5-coder-0.5b); judge and process-reward models: the first the server lists."""
    verifier_url: str = ""
    """A server to host the verifier: OpenAI-compatible and with log-probabilities, or vLLM's
    pooling runner. Empty: llama.cpp in this process, or vLLM for a process-reward model."""
    models: Path = Path("~/.cache/surefoot/models")
    """Folder in which models are kept."""
    engine_url: str = "http://127.0.0.1:8000"
    """Base URL of the OpenAI-compatible server (remote)."""
    engine_key: SecretStr = SecretStr("")
    """Key for that server."""
    samples_together: int = Field(default=16, ge=1, le=64)
    """Samples of one question that share a replica and its prefill (remote, behind a router); a
    larger Best-of-N goes to more replicas."""
    verifier_down: Literal["fail", "degrade"] = "fail"
    """What a solve comes to without a verifier that answers: an error, or the answer that most of
    its paths share, unverified."""
    threads: int = Field(default=len(os.sched_getaffinity(0)), ge=1, le=1024)
    """Threads llama.cpp computes with, and vLLM where it has no GPU."""
    vllm_context: int = Field(default=16_384, ge=256)
    """Tokens of a question and its answer that vLLM takes at the most; never more than the model
    was made for."""
    vllm_cache: float | None = Field(default=None, gt=0)
    """GiB that vLLM caches prefixes and running answers in. Empty: what vllm_share leaves of a GPU;
    2 on a CPU."""
    vllm_share: float = Field(default=0.9, gt=0, le=1)
    """The share of a GPU's memory that vLLM takes."""
    traces: SecretStr = SecretStr("sqlite:///~/.local/share/surefoot/traces.db")
    """Where solves are kept: the URL of an SQLite or PostgreSQL database; "sqlite://" is in memory,
    "off" is nowhere."""
    traces_days: int = Field(default=30, ge=1, le=36_500)
    """Days after which a trace is deleted."""
    traces_most: int = Field(default=100_000, ge=1)
    """Traces kept at the most; the newest stay."""
    traces_mb: int = Field(default=1_000, ge=1)
    """Megabytes of traces kept at the most; the newest stay."""
    traces_content: bool = True
    """Whether the texts of questions, steps and answers are kept, or the numbers alone."""
    concurrency: int = Field(default=64, ge=1, le=10_000)
    """Requests that are solved at once; the others wait."""
    queue_tokens: int = Field(default=262_144, ge=1)
    """Tokens that the waiting requests of one tenant are estimated at, at the most."""
    deadline_ms: int = Field(default=120_000, ge=1, le=86_400_000)
    """Milliseconds that a request has, if it says nothing else."""
    deadline_most_ms: int = Field(default=600_000, ge=1, le=86_400_000)
    """Milliseconds that a request may ask for at the most."""
    grace: float = Field(default=25.0, ge=0, le=3600)
    """Seconds that running solves have to end once the service is told to."""
    quotas: SecretStr = SecretStr("memory://")
    """Where requests and tokens are counted: memory://, or the URL of a Redis for all replicas."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Requests a minute of a caller without a key; empty: no limit."""
    tokens_per_day: int | None = Field(default=None, ge=1)
    """Tokens a day that may be generated for a caller without a key; empty: no limit."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged: at info a line for each request."""
    otlp_endpoint: str = Field(
        default="",
        validation_alias=AliasChoices("SUREFOOT_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    )
    """Base URL of an OpenTelemetry collector (OTLP over HTTP) for spans. Empty: none are made."""
    telemetry_content: bool = False
    """Whether texts of questions and answers may stand in spans, and errors' words in the log."""
    scripted_delay: float = Field(default=0.0, ge=0, le=10)
    """Seconds the scripted engine waits before each token."""

    @property
    def keyring(self) -> Path | None:
        return Path(self.keys).expanduser() if self.keys else None

    @property
    def folder(self) -> Path:
        return self.models.expanduser()
