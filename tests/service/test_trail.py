"""What a server wrote, remembered by its tokens: what is recalled spells the prefix."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.engines.base import Message
from service.engines.trail import CONVERSATIONS, Trail, Turn

ASK = (Message("user", "?"),)
PIECES = st.lists(st.text("ab \n", max_size=3), max_size=8)


def heard(begun: str, pieces: list[str]) -> Turn:
    """A token a piece; its number is the pieces' so far."""
    turn = Turn.begun(begun, [0])
    for number, piece in enumerate(pieces, 1):
        turn.hear(piece, [number])
    return turn


@given(pieces=PIECES, prefix=st.text("ab \n", max_size=12))
def test_what_is_recalled_spells_a_beginning_of_the_prefix(pieces: list[str], prefix: str) -> None:
    trail = Trail()
    trail.remember(ASK, heard("x", pieces))

    characters, tokens = trail.recall(ASK, f"x{prefix}")

    assert f"x{prefix}"[:characters] == "".join(["x", *pieces][token] for token in tokens)


@given(pieces=PIECES, kept=st.integers(0, 8))
def test_a_prefix_that_ends_where_a_token_does_is_recalled_whole(
    pieces: list[str], kept: int
) -> None:
    trail = Trail()
    trail.remember(ASK, heard("x", pieces))

    characters, tokens = trail.recall(ASK, prefix := "x" + "".join(pieces[:kept]))

    assert characters == len(prefix)
    assert "".join(pieces[token - 1] for token in tokens[1:]) == prefix[1:]


def test_of_several_turns_the_one_that_shares_most_is_recalled() -> None:
    trail = Trail()
    for last in ("left", "right"):
        trail.remember(ASK, heard("x", ["a", last]))

    assert trail.recall(ASK, "xaright!") == (7, [0, 1, 2])
    assert trail.recall((Message("user", "another"),), "xa") == (0, [])


def test_the_conversations_heard_longest_ago_are_forgotten() -> None:
    trail = Trail()
    for number in range(CONVERSATIONS + 1):
        trail.remember((Message("user", str(number)),), heard("x", []))

    assert trail.recall((Message("user", "0"),), "x") == (0, [])
    assert trail.recall((Message("user", "1"),), "x") == (1, [0])
