"""A process-reward model on vLLM in this process: the verifier's `Pooler`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.engines.vllm.core import Core, Plan
from service.engines.vllm.tokenizer import pretrained
from service.errors import EngineError
from verifier.pooling import Rows
from verifier.prms.prm import RUNNER, Prm, Turns
from verifier.scoring import PathTooLong, VerifierError
from verifier.together import together

CONTEXT = 4096  # tokens of a path at the most; Qwen2.5-Math has no more
CACHE = 2.0  # GiB; nothing is kept between calls


class PoolingEngine:
    """Make it with `load`."""

    def __init__(
        self,
        core: Core,
        tokenizer: Any,  # noqa: ANN401 - untyped
        name: str,
        context: int,
    ) -> None:
        self.name = name
        self._context = context
        self._core = core
        self._tokenizer = tokenizer

    @classmethod
    async def load(
        cls, model: str, prm: Prm, *, context: int = CONTEXT, threads: int = 0, eager: bool = False
    ) -> PoolingEngine:
        """Load a folder or a hub name. Raises `StartupError`."""
        more = {**prm.arguments, **RUNNER}
        plan = Plan(model, context, CACHE, threads=threads, eager=eager, more=more)
        core = await Core.start(plan)
        return cls(core, await asyncio.to_thread(pretrained, model), Path(model).name, context)

    async def encode(self, texts: Sequence[str | Turns]) -> list[list[int]]:
        return await asyncio.to_thread(lambda: [self._encoded(text) for text in texts])

    async def pool(self, prompts: Sequence[Sequence[int]]) -> list[Rows]:
        if any(len(prompt) > self._context for prompt in prompts):
            raise PathTooLong(f"{self.name} reads {self._context:,} tokens at the most")
        with self._translated():
            return await together(self._core.pool(list(prompt)) for prompt in prompts)

    async def check(self) -> None:
        with self._translated():
            self._core.demand()

    async def close(self) -> None:
        await self._core.close()

    def _encoded(self, text: str | Turns) -> list[int]:
        if isinstance(text, str):
            return list(self._tokenizer.encode(text, add_special_tokens=False))
        turns = [{"role": role, "content": content} for role, content in text]
        return list(self._tokenizer.apply_chat_template(turns, return_dict=False))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except EngineError as error:
            raise VerifierError(f"{self.name} gave no scores: {error}") from error
