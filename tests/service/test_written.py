"""What a model wrote, remembered by its tokens: what is recalled spells the prefix."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.engines.base import Message, Prompt
from service.engines.written import Turn, Written

ASK = (Message("user", "?"),)
PIECES = st.lists(st.text("ab \n", max_size=3), max_size=8)


def heard(begun: str, pieces: list[str]) -> Turn:
    """A token a piece; its number is the pieces' so far."""
    turn = Turn(begun, [0])
    for number, piece in enumerate(pieces, 1):
        turn.hear(piece, [number])
    return turn


def remembering(*turns: Turn) -> Written:
    written = Written()
    for turn in turns:
        written.remember(Prompt(ASK), turn)
    return written


@given(pieces=PIECES, prefix=st.text("ab \n", max_size=12))
def test_what_is_recalled_and_what_is_left_are_the_prefix(pieces: list[str], prefix: str) -> None:
    tokens, rest = remembering(heard("x", pieces)).recall(Prompt(ASK, f"x{prefix}"))

    assert "".join(["x", *pieces][token] for token in tokens) + rest == f"x{prefix}"


@given(pieces=PIECES, kept=st.integers(0, 8))
def test_a_prefix_that_ends_where_a_token_does_is_recalled_whole(
    pieces: list[str], kept: int
) -> None:
    prefix = "x" + "".join(pieces[:kept])

    tokens, rest = remembering(heard("x", pieces)).recall(Prompt(ASK, prefix))

    assert rest == ""
    assert "".join(["x", *pieces][token] for token in tokens) == prefix


def test_a_token_that_ends_no_character_is_recalled_with_the_one_that_does() -> None:
    """A character of several tokens comes with its last; a chunk may bring several at once."""
    turn = Turn("", ())
    for text, tokens in (("a", [1]), ("", [2]), ("é", [3]), ("bc", [4, 5]), ("", [6])):
        turn.hear(text, tokens)
    written = remembering(turn)

    assert written.recall(Prompt(ASK, "aé")) == ([1, 2, 3], "")
    assert written.recall(Prompt(ASK, "aéb")) == ([1, 2, 3], "b")
    assert written.recall(Prompt(ASK, "aébc")) == ([1, 2, 3, 4, 5], "")


def test_of_several_turns_the_one_that_shares_most_is_recalled_to_its_own_tenant() -> None:
    written = remembering(heard("x", ["a", "left"]), heard("x", ["a", "right"]))

    assert written.recall(Prompt(ASK, "xaright!")) == ([0, 1, 2], "!")
    assert written.recall(Prompt(ASK, "Otherwise")) == ([], "Otherwise")
    assert written.recall(Prompt((Message("user", "another"),), "xa")) == ([], "xa")
    assert written.recall(Prompt(ASK, "xa", "another's salt")) == ([], "xa")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=40))
def test_the_memory_is_bounded_and_forgets_what_was_used_longest_ago(
    calls: list[tuple[int, int]],
) -> None:
    memory = Written(room=100)

    for number, tokens in calls:
        memory.remember(Prompt((Message("user", str(number)),)), Turn("x", range(tokens)))
        assert memory.held <= 100
        assert memory.held == sum(
            len(turn.tokens) for turns in memory._turns.values() for turn in turns
        )
    if calls and calls[-1][1]:
        assert list(memory._turns)[-1] == hash(((Message("user", str(calls[-1][0])),), ""))
