"""Conversations as tokens, and a kept prefix as the tokens it was written in."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

from pathlib import Path

from checkpoints import CONTROL, tiny_chat
from hypothesis import given
from hypothesis import strategies as st

from service.engines.base import Message, Prompt
from service.engines.tokenizer import ChatTokenizer
from service.engines.written import Written
from service.errors import StartupError

ASK = (Message("system", "Add."), Message("user", "What is 12 + 30?"))
TEXT = "Step 1: 12 + 30 = 42. é∑😀\nStep 2: The answer is 42."


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


@given(st.integers(0, len(TEXT)), st.integers(0, 2**16))
def test_a_prefix_is_spelled_by_as_many_of_its_own_tokens_as_can_be(
    tokenizer: ChatTokenizer, cut: int, chance: int
) -> None:
    """The turn was written in other tokens than it would be tokenised in."""
    split = chance % len(TEXT)
    written = tokenizer.text(TEXT[:split]) + tokenizer.text(TEXT[split:])
    head = tokenizer.conversation(ASK)

    resumed = tokenizer.resumed(head, TEXT[:cut], written)

    assert spelled(tokenizer, resumed) == TEXT[:cut]
    whole = [n for n in range(len(written) + 1) if spelled(tokenizer, written[:n]) == TEXT[:cut]]
    if whole:
        assert resumed == written[: whole[0]]


def test_a_turn_that_parts_from_the_prefix_is_followed_that_far(tokenizer: ChatTokenizer) -> None:
    written = [token for letter in "Step 1: 42 and so on" for token in tokenizer.text(letter)]
    head = tokenizer.conversation(ASK)

    resumed = tokenizer.resumed(head, "Step 1: 42 or not", written)

    assert spelled(tokenizer, resumed) == "Step 1: 42 or not"
    assert resumed == written[:11] + tokenizer.text("or not")
    assert len(resumed) > len(tokenizer.text("Step 1: 42 or not"))


def test_a_tokenizer_without_a_template_is_refused_in_one_sentence(tmp_path: Path) -> None:
    tiny_chat(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()

    with pytest.raises(StartupError, match="lacks a chat template"):
        ChatTokenizer.load(str(tmp_path))
    with pytest.raises(StartupError, match="no tokenizer"):
        ChatTokenizer.load(str(tmp_path / "nowhere"))


def test_the_turn_that_shares_most_is_recalled_to_its_own_tenant() -> None:
    memory = Written()
    memory.remember(Prompt(ASK), "Step 1: a\nStep 2: b", [1, 2])
    memory.remember(Prompt(ASK), "Step 1: a\nStep 2: c", [1, 3])

    assert [1, 3] == list(memory.recall(Prompt(ASK, "Step 1: a\nStep 2: c")))
    assert [1, 2] == list(memory.recall(Prompt(ASK, "Step 1: a\nStep 2: b!")))
    assert not memory.recall(Prompt(ASK, "Otherwise"))
    assert not memory.recall(Prompt(ASK, "Step 1:", "another's salt"))
    assert not memory.recall(Prompt(ASK[1:], "Step 1:"))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=40))
def test_the_memory_is_bounded_and_forgets_what_was_used_longest_ago(
    calls: list[tuple[int, int]],
) -> None:
    memory = Written(room=100)

    for number, tokens in calls:
        memory.remember(Prompt((Message("user", str(number)),)), "x", range(tokens))
        assert memory.held <= 100
        assert memory.held == sum(
            len(turn.tokens) for turns in memory._turns.values() for turn in turns
        )
    if calls and calls[-1][1]:
        assert list(memory._turns)[-1] == hash(((Message("user", str(calls[-1][0])),), ""))
