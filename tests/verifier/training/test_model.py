"""Packing: many paths in one pass, and each as if it were alone."""

from __future__ import annotations

import pytest

from verifier.scoring import Chain
from verifier.training.model import Tokens, bins, pack

torch = pytest.importorskip("torch")

from tiny import tiny  # noqa: E402 - needs torch

ONE = Chain("What is 2 + 3?", ("2 + 3 = 5", "Answer: \\boxed{5}"))
OTHER = Chain("What is 2 + 3?", ("2 + 3 = 6", "So it is six.", "Answer: \\boxed{6}"))
THIRD = Chain("And 7 - 1?", ("It is 6.",))


def test_a_path_is_read_alike_alone_and_beside_others() -> None:
    model = tiny()
    paths = [model.tokens(chain) for chain in (ONE, OTHER, THIRD)]

    together = pack(paths)
    packed = model.logits(together, model.lower(together))
    alone = [model.logits(pack([path]), model.lower(pack([path]))) for path in paths]

    torch.testing.assert_close(packed, torch.cat(alone), atol=1e-5, rtol=1e-4)


def test_paths_of_one_question_share_it() -> None:
    model = tiny()
    one, other, third = (model.tokens(chain) for chain in (ONE, OTHER, THIRD))

    together = pack([one, other, third])

    assert len(together.ids) == (
        len(one.question) + len(one.path) + len(other.path) + len(third.question) + len(third.path)
    )


def test_a_marker_stands_behind_every_step() -> None:
    tokens = tiny().tokens(OTHER)
    text = bytes(tokens.path).decode()

    behind = [bytes(tokens.path[: at + 1]).decode() for at in tokens.markers]

    assert 3 == len(behind)
    assert all(each.endswith(" ки") and text.startswith(each) for each in behind)
    assert behind[-1] == text


def test_a_marker_in_a_step_is_not_read() -> None:
    tokens = tiny().tokens(Chain("?", ("all good ки + ки", "done")))

    assert 2 == len(tokens.markers)


@pytest.mark.parametrize(("most", "sizes"), [(10, [2, 2]), (7, [1, 1, 1, 1]), (100, [4])])
def test_packs_are_filled_in_order(most: int, sizes: list[int]) -> None:
    """A question of four tokens counts once a pack."""
    paths = [Tokens((1, 2, 3, 4), (5, 6, 7), (2,))] * 4

    filled = bins(paths, most)

    assert sizes == [len(each) for each in filled]
    assert [0, 1, 2, 3] == [number for each in filled for number in each]


def test_a_path_longer_than_a_pack_has_one_of_its_own() -> None:
    assert [[0], [1], [2]] == bins([Tokens((1,), (2,) * n, (0,)) for n in (3, 50, 3)], 20)
