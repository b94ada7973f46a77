"""The base model in torch, with an adapter to be trained or read: whole paths in one forward pass.

Paths of one question are packed behind one copy of it: a mask keeps them from seeing each other,
and each continues the question's positions. The layers below the adapter are frozen; what they
give for a pack can be computed once and kept. Needs the extra `train`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifier import steps
from verifier.readout import MARKED
from verifier.scoring import Chain

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank adaptation (2106.09685) of every projection from layer `first` (from 0) on."""

    rank: int = 16
    alpha: int = 32
    first: int = 12


@dataclass(frozen=True, slots=True)
class Tokens:
    """A path as token ids; `markers` are offsets into `path`, one a step."""

    question: tuple[int, ...]
    path: tuple[int, ...]
    markers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pack:
    """Paths side by side in one sequence of n tokens.

    `ids`, `positions`, `groups` (which question) and `parts` (which path; 0 for the question) have
    n entries each. `markers` has the places of all paths' markers, in order.
    """

    ids: list[int]
    positions: list[int]
    groups: list[int]
    parts: list[int]
    markers: list[int]


def pack(paths: Sequence[Tokens]) -> Pack:
    """One sequence; neighbours with the same question share it."""
    made, group = Pack([], [], [], [], []), 0
    for number, each in enumerate(paths):
        if not number or paths[number - 1].question != each.question:
            group = number
            _extend(made, each.question, start=0, group=group, part=0)
        start = len(made.ids)
        _extend(made, each.path, start=len(each.question), group=group, part=number + 1)
        made.markers.extend(start + marker for marker in each.markers)
    return made


def bins(paths: Sequence[Tokens], most: int) -> list[list[int]]:
    """The numbers of the paths, in order, cut into packs of at most `most` tokens where it can be.

    Keep paths of one question together: it then counts once a pack.
    """
    packs: list[list[int]] = []
    size = 0
    for number, each in enumerate(paths):
        fresh = not packs or paths[number - 1].question != each.question
        cost = len(each.path) + (len(each.question) if fresh else 0)
        if packs and size + cost <= most:
            packs[-1].append(number)
            size += cost
        else:
            packs.append([number])
            size = len(each.path) + len(each.question)
    return packs


class Model:
    """Odds of both readouts at every marker."""

    def __init__(self, network: Any, tokenizer: Any) -> None:  # noqa: ANN401 - untyped
        import torch

        self.network = network
        self._first = min(
            int(name.split(".layers.")[1].split(".")[0])
            for name, _ in network.named_parameters()
            if ".lora_A." in name
        )
        self._tokenizer = tokenizer
        self._opening, self._closing = self._turn()
        inner = network.get_base_model()
        self._inner = inner.model
        rows = inner.lm_head.weight
        pairs = [[self._word(yes), self._word(no)] for yes, no in (MARKED.correct, MARKED.value)]
        heads = [rows[yes].float() - rows[no].float() for yes, no in pairs]
        self._heads = torch.stack(heads).detach()

    @classmethod
    def fresh(cls, base: Path, lora: Lora, seed: int) -> Model:
        """The base's GGUF file, dequantised, with an adapter that does nothing yet."""
        import torch
        from peft import LoraConfig, get_peft_model

        network, tokenizer = _base(base)
        torch.manual_seed(seed)
        config = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            target_modules=TARGETS,
            layers_to_transform=list(range(lora.first, network.config.num_hidden_layers)),
            task_type="CAUSAL_LM",
        )
        return cls(get_peft_model(network, config), tokenizer)

    @classmethod
    def saved(cls, base: Path, adapter: Path, *, learns: bool = False) -> Model:
        """The base's GGUF file, dequantised, with the adapter in a folder of PEFT's."""
        from peft import PeftModel

        network, tokenizer = _base(base)
        return cls(PeftModel.from_pretrained(network, adapter, is_trainable=learns), tokenizer)

    def tokens(self, chain: Chain) -> Tokens:
        """As the serving engines cut them: template, question and turn each by itself."""
        path: list[int] = []
        markers = []
        query = MARKED.query(chain.question, chain.steps)
        for step in query.begun.split(steps.MARKER)[:-1]:
            path += self._encode(step + steps.MARKER)
            markers.append(len(path) - 1)
        question = self._opening + self._encode(query.user) + self._closing
        return Tokens(tuple(question), tuple(path), tuple(markers))

    def lower(self, pack: Pack) -> Tensor:
        """What the frozen layers make of a pack: (n, width), without gradient."""
        import torch

        with torch.no_grad():
            hidden = self._inner.embed_tokens(torch.tensor([pack.ids]))
            return self._through(hidden, pack, 0, self._first)[0]

    def logits(self, pack: Pack, lower: Tensor) -> Tensor:
        """Log-odds (markers, 2) of `correct` and `value`, from what `lower` gave."""
        hidden = self._through(lower[None], pack, self._first, len(self._inner.layers))
        at_markers = self._inner.norm(hidden[0, pack.markers])
        return at_markers.float() @ self._heads.T

    def _through(self, hidden: Tensor, pack: Pack, start: int, end: int) -> Tensor:
        import torch

        positions = torch.tensor([pack.positions])
        mask = _mask(pack)
        rotary = self._inner.rotary_emb(hidden, positions)
        for layer in self._inner.layers[start:end]:
            hidden = layer(
                hidden, attention_mask=mask, position_embeddings=rotary, position_ids=positions
            )
        return hidden

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _word(self, word: str) -> int:
        (token,) = self._encode(word)
        return token

    def _turn(self) -> tuple[list[int], list[int]]:
        """The chat template's tokens before and behind a question."""
        turn = [{"role": "user", "content": "\0"}]
        text = self._tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        before, behind = text.split("\0")
        return self._encode(before), self._encode(behind)


def _base(file: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    network = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    return network.requires_grad_(False), tokenizer


def _extend(pack: Pack, ids: Sequence[int], start: int, group: int, part: int) -> None:
    pack.ids.extend(ids)
    pack.positions.extend(range(start, start + len(ids)))
    pack.groups.extend([group] * len(ids))
    pack.parts.extend([part] * len(ids))


def _mask(pack: Pack) -> Tensor:
    """(1, 1, n, n), true where a token may look: back, at its own question and its own path."""
    import torch

    group, part = torch.tensor(pack.groups), torch.tensor(pack.parts)
    same = group[:, None] == group[None, :]
    own = (part[None, :] == 0) | (part[:, None] == part[None, :])
    return (same & own).tril()[None, None]
