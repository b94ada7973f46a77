"""Everything that can be set, read once; the only reader of the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Each field is an environment variable of the same name, in capitals behind `SUREFOOT_`."""

    model_config = SettingsConfigDict(env_prefix="SUREFOOT_", frozen=True, extra="ignore")

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(
        default=8321, ge=0, le=65535, description="Port to listen on; 0 picks a free one."
    )
    engine: Literal["llamacpp", "remote", "scripted"] = Field(
        default="llamacpp", description="Where completions come from."
    )
    model: str = Field(
        default="",
        description="The policy: a catalogue name or a GGUF file (llamacpp), or the server's name "
        "for it (remote). Empty: qwen2.5-coder-1.5b, or the first model the server lists.",
    )
    verifier: Literal["judge", "readout"] = Field(
        default="judge",
        description="How steps are scored; the scripted engine brings its own verifier.",
    )
    verifier_model: str = Field(
        default="",
        description="The verifier's model: a catalogue name, a GGUF file, or the name of a server "
        "at verifier_url for it. Empty: qwen2.5-coder-0.5b, or the first model the server lists.",
    )
    verifier_url: str = Field(
        default="",
        description="An OpenAI-compatible server that returns log-probabilities, to host the "
        "verifier. Empty: llama.cpp in this process.",
    )
    models: Path = Field(
        default=Path("~/.cache/surefoot/models"), description="Folder in which models are kept."
    )
    engine_url: str = Field(
        default="http://127.0.0.1:8000",
        description="Base URL of the OpenAI-compatible server (remote).",
    )
    engine_key: SecretStr = Field(default=SecretStr(""), description="Key for that server.")
    threads: int = Field(
        default=len(os.sched_getaffinity(0)),
        ge=1,
        le=1024,
        description="Threads llama.cpp computes with.",
    )
    scripted_delay: float = Field(
        default=0.0, ge=0, le=10, description="Seconds the scripted engine waits before each token."
    )

    @property
    def folder(self) -> Path:
        return self.models.expanduser()
