"""From a run's folder to the verifier that ships."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from verifier import steps
from verifier.adapter import Adapter
from verifier.calibration import Calibration
from verifier.scoring import Chain, Score
from verifier.training.curriculum import Curriculum
from verifier.training.data import Process, Rollout, write
from verifier.training.finish import finish
from verifier.training.train import Plan, train

pytest.importorskip("torch")

from tiny import LORA, example, tiny

from verifier.training.trained import Trained

HELD_OUT = [example(number, right=right) for number in range(12, 24) for right in (True, False)]
DEV = [
    Process(id=each.question_id, question=each.question, steps=each.steps, label=label)
    for each in HELD_OUT
    for label in ([-1] if each.correct[1] else [1])
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Adapter]:
    folder = tmp_path_factory.mktemp("finish")
    run, model = folder / "run", tiny()
    lessons = [example(number, right=right) for number in range(12) for right in (True, False)]
    train(model, lessons, Plan(LORA, epochs=8, rate=3e-2), run, lambda _: None)
    Curriculum(lessons, HELD_OUT).save(run)
    write(folder / "dev.jsonl", DEV)
    trained = Trained(model, "run")
    dev = [folder / "dev.jsonl"]
    shipped = finish(run, trained, "base", dev, [], folder / "psv", lambda _, __: None)
    made = asyncio.run(shipped)
    assert made.gains["value"].before.steps == sum(len(each.steps) for each in HELD_OUT)
    assert made.adapter.calibration.blend is None
    return trained, made.adapter


def test_what_ships_can_be_loaded_as_it_was_made(finished: tuple[Trained, Adapter]) -> None:
    _, adapter = finished

    assert adapter == Adapter.load(adapter.folder)
    assert "base" == adapter.base
    assert {
        "adapter.gguf", "adapter_config.json", "adapter_model.safetensors", "golden.jsonl",
        "verifier.json",
    } == {file.name for file in adapter.folder.iterdir()}  # fmt: skip


def test_calibrated_scores_are_right_on_average(finished: tuple[Trained, Adapter]) -> None:
    """Platt scaling has an intercept, so on what it was fitted to the means agree."""
    trained, adapter = finished
    chains = [Chain(each.question, each.steps) for each in HELD_OUT]

    verdicts = asyncio.run(trained.score(chains))
    said = [adapter.calibration(score) for verdict in verdicts for score in verdict.scores]

    assert Calibration() != adapter.calibration
    assert 0.75 == pytest.approx(sum(score.correct for score in said) / len(said), abs=0.03)
    assert 0.5 == pytest.approx(sum(score.value for score in said) / len(said), abs=0.03)


def test_the_threshold_is_the_best_on_dev(finished: tuple[Trained, Adapter]) -> None:
    trained, adapter = finished
    verdicts = asyncio.run(trained.score([Chain(row.question, row.steps) for row in DEV]))
    paths = [[adapter.calibration(score).correct for score in v.scores] for v in verdicts]

    def f1(threshold: float) -> float:
        hits = [
            next((at for at, p in enumerate(path) if p < threshold), -1) == row.label
            for path, row in zip(paths, DEV, strict=True)
        ]
        wrong = [hit for hit, row in zip(hits, DEV, strict=True) if row.label >= 0]
        right = [hit for hit, row in zip(hits, DEV, strict=True) if row.label < 0]
        shares = sum(wrong) / len(wrong), sum(right) / len(right)
        return 2 * shares[0] * shares[1] / sum(shares) if all(shares) else 0.0

    assert max(f1(n / 100) for n in range(101)) == pytest.approx(f1(adapter.threshold.correct))
    assert Score(adapter.threshold.correct, 0.5) == adapter.threshold


def test_the_policys_certainty_is_blended_in_where_rollouts_tell_of_it(
    finished: tuple[Trained, Adapter], tmp_path: Path
) -> None:
    """Those that it was certain of end right: the certainty must count for something."""
    trained, adapter = finished
    run, dev, drawn = adapter.folder.parent / "run", tmp_path / "dev.jsonl", tmp_path / "r.jsonl"
    write(dev, DEV)
    write(drawn, [rollout(number, right=right) for number in range(8) for right in (True, False)])

    trained = Trained(trained._model, "run")  # of another loop
    shipped = finish(run, trained, "base", [dev], [drawn], tmp_path / "psv", lambda _, __: None)
    made = asyncio.run(shipped)

    blend = made.adapter.calibration.blend
    assert blend is not None
    assert blend.weight > 0
    assert blend == Adapter.load(tmp_path / "psv").calibration.blend
    assert adapter.calibration.value == made.adapter.calibration.value
    assert made.gains["value, blended"].before.steps == 32


def rollout(number: int, *, right: bool) -> Rollout:
    path = example(number, right=True)
    return Rollout(
        question_id=path.question_id,
        question=path.question,
        policy="policy",
        temperature=0.7,
        text=steps.join(path.steps),
        answer="5",
        gold="5" if right else "6",
        correct=right,
        completion_tokens=9,
        finish_reason="stop",
        certainties=tuple(0.3 + 0.2 * right + 0.1 * (number % 5) for _ in path.steps),
    )
