"""Clients as they are published, each in its own environment, against a running server.

A folder of `real/` holds a client's pins and a script that prints, as JSON, what the client saw.
What they see is asserted here. `make clients` runs them; docs/clients.md shows how each is set up.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import environments
import pytest
from fastapi import Request, Response
from staging import running
from starlette.middleware.base import RequestResponseEndpoint

from service.app import create_app
from service.engines.base import Completion, Prompt, Sampling, Watch, unwatched
from service.engines.scripted import ArithmeticVerifier, ScriptedEngine
from service.errors import EngineError, EngineUnavailable

REAL = Path(__file__).parent / "real"
QUESTIONS = {
    "sum": "What is 3 and 4 and 5 and 6?",
    "cut": "What is 1 and 2 and 3 and 4, in few words?",
    "away": "What is 1 and 2 while the engine is away?",
    "breaks": "What is 1 and 2 if the engine breaks?",
}
PROMPT = 12  # the tokens of the first question

pytestmark = pytest.mark.real


class Moody(ScriptedEngine):
    """Answers sums; is away, or breaks when it has begun to write, where the question says so."""

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, watch: Watch = unwatched
    ) -> list[Completion]:
        question = prompts[0].messages[-1].content
        if QUESTIONS["away"] in question:
            raise EngineUnavailable("The engine does not answer; try again.")
        completions = await super().complete(prompts, sampling, watch)
        if QUESTIONS["breaks"] in question:
            raise EngineError("The engine broke; see its log.")
        return completions


@dataclass
class Server:
    url: str
    posts: list[dict[str, Any]] = field(default_factory=list)

    def asked(self, question: str) -> list[dict[str, Any]]:
        """The bodies of all requests that held a question."""
        return [body for body in self.posts if QUESTIONS[question] in json.dumps(body)]


@pytest.fixture
def server() -> Iterator[Server]:
    app, heard = create_app(Moody(), ArithmeticVerifier()), Server("")

    @app.middleware("http")
    async def hear(request: Request, call_next: RequestResponseEndpoint) -> Response:
        if request.method == "POST":
            heard.posts.append(await request.json())
        return await call_next(request)

    with running(app) as url:
        heard.url = f"{url}/v1"
        yield heard


def seen(client: str, server: Server, folder: Path) -> dict[str, Any]:
    """What a client saw, as its script tells it on the last line; it runs in an empty folder."""
    if (REAL / client / "package.json").exists() and not shutil.which("npm"):
        pytest.skip("there is no npm")
    asked = json.dumps({"url": server.url, **QUESTIONS})
    ended = subprocess.run(
        [*environments.command(REAL / client), asked],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return told


SDKS = {
    "openai": "openai",
    "openai-async": "openai",
}
