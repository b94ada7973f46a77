"""Everything that can be set, read once; the only reader of the environment."""

import os
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, DirectoryPath, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


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
    engine: Literal["llamacpp", "remote", "scripted"] = "llamacpp"
    """Where completions come from."""
    model: str = ""
    """The policy: a catalogue name or a GGUF file (llamacpp), or the server's name for it (remote).
    Empty: qwen2.5-coder-1.5b, or the first model the server lists."""
    verifier: Literal["psv", "judge"] | DirectoryPath = "psv"
    """How steps are scored: psv, the trained verifier that ships; judge, a model that is only
    asked; or a folder that `surefoot verifier export` wrote. The scripted engine brings its own."""
    verifier_model: str = ""
    """The verifier's model: a catalogue name, a GGUF file, or what the server at verifier_url calls
    it. Empty: qwen2.5-coder-0.5b, or the adapter's base. At verifier_url, the adapter's own name
    (psv: psv-qwen2.5-coder-0.5b); judge: the first model the server lists."""
    verifier_url: str = ""
    """An OpenAI-compatible server that returns log-probabilities, to host the verifier.
    Empty: llama.cpp in this process."""
    models: Path = Path("~/.cache/surefoot/models")
    """Folder in which models are kept."""
    engine_url: str = "http://127.0.0.1:8000"
    """Base URL of the OpenAI-compatible server (remote)."""
    engine_key: SecretStr = SecretStr("")
    """Key for that server."""
    threads: int = Field(default=len(os.sched_getaffinity(0)), ge=1, le=1024)
    """Threads llama.cpp computes with."""
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
    def folder(self) -> Path:
        return self.models.expanduser()
