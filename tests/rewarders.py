"""Process-reward models of a few thousand random weights, and what their makers' code says of them.

Each is a folder of the architecture, the tokeniser's kind and the chat template of the real one.
Its scores come from torch alone, by the procedure that its model card or repository publishes;
nothing of ours that makes or reads a prompt is used, but the neutralised texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Scores = Callable[[str, Sequence[str]], list[float]]
Forward = Callable[[list[int]], Any]
"""Probabilities for every token: a tensor of (tokens, classes)."""

WORDS = (
    "Step 1: Natalia sold 48 clips in April. Step 2: half as many in May is 24 + 48 - 1 = 72.\n\n",
    "Please reason step by step, and put your final answer within \\boxed{}. ки user system\n",
) * 3
SPLIT = (  # how Qwen2.5 and Llama 3 cut a text before merging
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
)
SIZE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 1024,
    "initializer_range": 0.3,  # as large as needed for attention to tell tokens apart
    "tie_word_embeddings": False,
}


@dataclass(frozen=True, slots=True)
class Rewarder:
    folder: Path
    tokenizer: Any
    forward: Forward
    scores: Scores


def qwen_math(folder: Path) -> Rewarder:
    """Qwen2.5-Math-PRM: a head of two layers and two classes."""
    import torch
    from transformers import Qwen2Config, Qwen2Model

    control = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>")
    tokenizer = _by_bytes(folder, control, CHATML)
    torch.manual_seed(1)
    config = Qwen2Config(vocab_size=len(tokenizer), **SIZE)
    model = Qwen2Model(config).eval()
    head = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
    _save(folder, config, "Qwen2ForProcessRewardModel", model=model, score=head)
    tokenizer = _as_loaded(folder)

    def forward(ids: list[int]) -> Any:
        with torch.no_grad():
            return head(model(torch.tensor([ids])).last_hidden_state)[0].softmax(-1)

    def scores(question: str, steps: Sequence[str]) -> list[float]:
        told = "Please reason step by step, and put your final answer within \\boxed{}."
        turns = [
            {"role": "system", "content": told},
            {"role": "user", "content": question},
            {"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"},
        ]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=False)
        ids = tokenizer.encode(text)
        marked = torch.tensor(ids) == tokenizer.encode("<extra_0>")[0]
        found: list[float] = forward(ids)[marked, 1].tolist()
        return found

    return Rewarder(folder, tokenizer, forward, scores)


def skywork(folder: Path) -> Rewarder:
    """Skywork-o1-Open-PRM: a value head of one number."""
    import torch
    from transformers import Qwen2Config, Qwen2Model

    tokenizer = _by_bytes(folder, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    torch.manual_seed(2)
    config = Qwen2Config(vocab_size=len(tokenizer), **SIZE)
    model, head = Qwen2Model(config).eval(), torch.nn.Linear(64, 1)
    torch.nn.init.normal_(head.weight, std=0.3)
    torch.nn.init.constant_(head.bias, -1.5)  # one that is lost would be seen
    _save(folder, config, "Qwen2ForPrmModel", model=model, **{"v_head.summary": head})
    tokenizer = _as_loaded(folder)

    def forward(ids: list[int]) -> Any:
        with torch.no_grad():
            return head(model(torch.tensor([ids])).last_hidden_state)[0].sigmoid()

    def scores(question: str, steps: Sequence[str]) -> list[float]:
        ids = tokenizer.encode(f"<|endoftext|>{question}\n")
        ends = []
        for step in steps:
            for line in step.split("\n"):
                ids += [*tokenizer.encode(line), tokenizer.encode("\n")[-1]]
            ends.append(len(ids) - 1)
        found: list[float] = forward(ids)[ends, 0].tolist()
        return found

    return Rewarder(folder, tokenizer, forward, scores)


def math_shepherd(folder: Path) -> Rewarder:
    """Math-Shepherd: a language model's odds of + against − at each tag."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    tokenizer = _by_sentence_pieces(folder)
    torch.manual_seed(3)
    config = MistralConfig(vocab_size=len(tokenizer), sliding_window=None, **SIZE)
    model = MistralForCausalLM(config).eval()
    model.save_pretrained(folder)
    tokenizer = _as_loaded(folder)

    answers = tokenizer.encode("+ -")[1:]

    def forward(ids: list[int]) -> Any:
        with torch.no_grad():
            return model(torch.tensor([ids])).logits[0, :, answers].softmax(-1)

    def scores(question: str, steps: Sequence[str]) -> list[float]:
        said = "\n".join(f"Step {k}: {step} ки" for k, step in enumerate(steps, 1))
        ids = tokenizer.encode(f"{question} {said}")
        tagged = torch.tensor(ids) == tokenizer.encode("ки")[-1]
        found: list[float] = forward(ids)[tagged, 0].tolist()
        return found

    return Rewarder(folder, tokenizer, forward, scores)


def rlhflow(folder: Path) -> Rewarder:
    """RLHFlow: a language model's odds of + against −, asked anew after every step."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    control = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    tokenizer = _by_bytes(folder, control, LLAMA)
    torch.manual_seed(4)
    config = LlamaConfig(vocab_size=len(tokenizer), **SIZE)
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    tokenizer = _as_loaded(folder)

    answers = [tokenizer.encode("+")[-1], tokenizer.encode("-")[-1]]

    def forward(ids: list[int]) -> Any:
        with torch.no_grad():
            return model(torch.tensor([ids])).logits[0, :, answers].softmax(-1)

    def scores(question: str, steps: Sequence[str]) -> list[float]:
        found, turns = [], []
        for number, step in enumerate(steps):
            text = step if number else f"{question} {step}"
            turns += [{"role": "user", "content": text}, {"role": "assistant", "content": "+"}]
            ids = tokenizer.apply_chat_template(turns, return_dict=False)
            found.append(forward(ids)[-3, 0].item())
        return found

    return Rewarder(folder, tokenizer, forward, scores)


REWARDERS = {
    "qwen2.5-math-prm": qwen_math,
    "skywork-o1-prm": skywork,
    "math-shepherd": math_shepherd,
    "rlhflow": rlhflow,
}


def _as_loaded(folder: Path) -> Any:
    """The tokeniser as anyone gets it: transformers makes it anew after the model's kind."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def _by_bytes(folder: Path, control: Sequence[str], template: str = "") -> Any:
    """A tokeniser like Qwen2.5's and Llama 3's."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(WORDS, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in control])
    folder.mkdir(parents=True, exist_ok=True)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=control[0])
    fast.chat_template = template or None
    fast.save_pretrained(folder)
    return fast


def _by_sentence_pieces(folder: Path) -> Any:
    """A tokeniser like Mistral's: spaces are letters, a beginning has one, bytes are a fallback."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    control = ["<unk>", "<s>", "</s>"]
    special = [*control, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(" ".join(WORDS).split(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.save_pretrained(folder)
    return fast


def _save(folder: Path, config: Any, architecture: str, **parts: Any) -> None:
    from safetensors.torch import save_file

    weights = {
        f"{name}.{key}": tensor.contiguous()
        for name, part in parts.items()
        for key, tensor in part.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.architectures, config.dtype = [architecture], "float32"
    config.save_pretrained(folder)
