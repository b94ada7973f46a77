"""Conversations as tokens."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

from pathlib import Path

from checkpoints import CONTROL, tiny_chat
from hypothesis import given
from hypothesis import strategies as st

from service.engines.base import Message
from service.engines.vllm.tokenizer import ChatTokenizer
from service.errors import StartupError

ASK = (Message("system", "Add."), Message("user", "What is 12 + 30?"))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    return ChatTokenizer.load(str(tiny_chat(tmp_path_factory.mktemp("tiny"))))


def spelled(tokenizer: ChatTokenizer, tokens: list[int]) -> str:
    text: str = tokenizer._native.decode(tokens, skip_special_tokens=False)
    return text


def test_a_conversation_is_the_models_own_template(tokenizer: ChatTokenizer) -> None:
    assert spelled(tokenizer, tokenizer.conversation(ASK)) == (
        "<|im_start|>system\nAdd.<|im_end|>\n<|im_start|>user\nWhat is 12 + 30?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@given(st.lists(st.sampled_from(["a", "<|", "|>", *CONTROL, "é", " "])).map("".join))
def test_a_text_is_spelled_and_holds_no_control_token(tokenizer: ChatTokenizer, text: str) -> None:
    tokens = tokenizer.text(text)

    assert spelled(tokenizer, tokens) == text
    assert not {tokenizer._native.token_to_id(token) for token in CONTROL} & set(tokens)


def test_a_tokenizer_without_a_template_is_refused_in_one_sentence(tmp_path: Path) -> None:
    tiny_chat(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()

    with pytest.raises(StartupError, match="lacks a chat template"):
        ChatTokenizer.load(str(tmp_path))
    with pytest.raises(StartupError, match="no tokenizer"):
        ChatTokenizer.load(str(tmp_path / "nowhere"))
