"""The trained verifier's folder: what its card says, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from verifier.adapter import Adapter, AdapterError
from verifier.calibration import Calibration, Scale
from verifier.readout import MARKED, Pair, Query, Reading
from verifier.scoring import Chain, Cost, Meter, Score, unmetered

CALIBRATION = Calibration(correct=Scale(1.5, 0.2), value=Scale(0.8, -0.1))


def saved(folder: Path) -> Adapter:
    (folder / "adapter.gguf").write_bytes(b"GGUF")
    adapter = Adapter(folder, "some-base", Score(0.4, 0.5), CALIBRATION)
    adapter.save()
    return adapter


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    assert saved(tmp_path) == Adapter.load(tmp_path)


def test_what_else_a_card_tells_is_no_hindrance(tmp_path: Path) -> None:
    adapter, card = saved(tmp_path), tmp_path / "verifier.json"
    card.write_text(json.dumps(json.loads(card.read_text("utf-8")) | {"seed": 1}), "utf-8")

    assert adapter == Adapter.load(tmp_path)


@pytest.mark.parametrize("card", ["", "[]", "{}", '{"base": "some-base", "threshold": 0.5}'])
def test_a_card_that_lacks_something_is_refused_in_one_sentence(tmp_path: Path, card: str) -> None:
    saved(tmp_path)
    (tmp_path / "verifier.json").write_text(card, "utf-8")

    with pytest.raises(AdapterError, match="holds no verifier") as caught:
        Adapter.load(tmp_path)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["adapter.gguf", "verifier.json"])
def test_a_folder_that_lacks_a_file_is_refused(tmp_path: Path, missing: str) -> None:
    saved(tmp_path)
    (tmp_path / missing).unlink()

    with pytest.raises(AdapterError, match="holds no verifier"):
        Adapter.load(tmp_path)


def test_other_weights_than_the_cards_are_refused(tmp_path: Path) -> None:
    """A calibration is of one adapter: on another one it would be wrong without a word."""
    saved(tmp_path)
    (tmp_path / "adapter.gguf").write_bytes(b"other weights")

    with pytest.raises(AdapterError, match="is not what"):
        Adapter.load(tmp_path)


class EvenReader:
    """A reader to which a yes is always as likely as not; it keeps the pairs it was asked for."""

    name = "even"

    def __init__(self) -> None:
        self.pairs: Sequence[Pair] = ()

    async def read(
        self, queries: Sequence[Query], pairs: Sequence[Pair], meter: Meter = unmetered
    ) -> list[Reading]:
        self.pairs = pairs
        return [Reading((0.5,) * len(pairs), Cost(1, 1))] * len(queries)

    async def weigh(self, queries: Sequence[Query]) -> list[int]:
        return [1] * len(queries)

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None


def test_its_readout_answers_at_markers_calibrated_with_its_own_threshold(tmp_path: Path) -> None:
    reader, adapter = EvenReader(), saved(tmp_path)
    readout = adapter.readout(reader)

    (verdict,) = asyncio.run(readout.score([Chain("?", ("a", "b"))]))

    assert [MARKED.correct, MARKED.value] == reader.pairs
    assert (CALIBRATION(Score(0.5, 0.5)),) * 2 == verdict.scores
    assert ("psv:even", adapter.threshold) == (readout.name, readout.threshold)
    assert "last" == adapter.aggregate == readout.aggregate


def test_what_suits_a_verifier_is_in_its_card(tmp_path: Path) -> None:
    adapter = replace(saved(tmp_path), aggregate="mean")
    adapter.save()

    assert "mean" == Adapter.load(tmp_path).readout(EvenReader()).aggregate
