"""Training: it learns both readouts, and a run that was killed ends as if it had not been."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from verifier.training.examples import Example
from verifier.training.train import METRICS, Plan, Step, batches, lay_out, train

torch = pytest.importorskip("torch")

from tiny import LORA, example, tiny  # noqa: E402 - needs torch

PLAN = Plan(LORA, epochs=20, rate=3e-2, pack=256, batch=512)


EXAMPLES = [example(number, right=right) for number in range(12) for right in (True, False)]


class Killed(Exception):
    pass


def run(out: Path, dies_at: int | None = None) -> tuple[Any, list[Step]]:
    model, heard = tiny(), list[Step]()

    def told(step: Step) -> None:
        heard.append(step)
        if step.step == dies_at:
            raise Killed

    with suppress(Killed):
        train(model, EXAMPLES, PLAN, out, told)
    return model, heard


@dataclass(frozen=True)
class Whole:
    """A run from its first step to its last."""

    out: Path
    model: Any
    heard: list[Step]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    out = tmp_path_factory.mktemp("whole")
    return Whole(out, *run(out))


def test_both_readouts_learn_what_they_are_told(whole: Whole) -> None:
    heard = whole.heard

    assert 0.1 > heard[-1].loss_correct
    assert 0.45 > heard[-1].loss_value  # half of its labels are 0.5, which cost 0.35 at the least
    assert list(range(1, len(heard) + 1)) == [step.step for step in heard]


def test_every_step_leaves_a_line_of_metrics(whole: Whole) -> None:
    lines = [json.loads(line) for line in (whole.out / METRICS).read_text().splitlines()]

    assert [step.loss_correct for step in whole.heard] == [line["loss_correct"] for line in lines]


def test_a_killed_run_goes_on_from_its_saved_state(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("verifier.training.train.SAVE_EVERY", 0.0)

    _, before = run(tmp_path, dies_at=10)
    again, after = run(tmp_path)

    assert 10 == len(before)
    assert len(whole.heard) == len((tmp_path / METRICS).read_text().splitlines())
    assert after[0].step in (9, 10, 11)
    for (name, weight), (_, other) in zip(
        whole.model.network.named_parameters(), again.network.named_parameters(), strict=True
    ):
        torch.testing.assert_close(weight, other, msg=name)
    assert whole.heard[-1].loss_correct == pytest.approx(after[-1].loss_correct, abs=1e-5)


def test_the_layers_below_the_adapter_stay_as_they_were(whole: Whole) -> None:
    fresh = dict(tiny().network.named_parameters())

    changed = {
        name
        for name, weight in whole.model.network.named_parameters()
        if not torch.equal(weight, fresh[name])
    }

    assert changed
    assert all("lora" in name and ("layers.2" in name or "layers.3" in name) for name in changed)


def test_what_is_not_known_is_not_learned(tmp_path: Path) -> None:
    """A path with no labels moves no weight."""
    unknown = Example(
        question_id="q",
        question="?",
        steps=("a", "b"),
        correct=(None, None),
        value=(None, None),
        source="rollout",
    )
    model = tiny()
    fresh = {name: weight.clone() for name, weight in model.network.named_parameters()}

    train(model, [unknown], Plan(PLAN.lora, epochs=1, decay=0.0), tmp_path, lambda _: None)

    assert all(torch.equal(fresh[name], w) for name, w in model.network.named_parameters())


def test_each_epoch_shows_every_path_once_with_its_own_labels() -> None:
    lessons = list(lay_out(tiny(), EXAMPLES, PLAN))

    shown = sorted(number for batch in batches(lessons, PLAN) for number in batch)

    assert sorted(list(range(len(lessons))) * PLAN.epochs) == shown
    assert sum(len(each.steps) for each in EXAMPLES) == sum(len(x.labels) for x in lessons)
    assert all(len(x.labels) == len(x.pack.markers) for x in lessons)
    wanted = sorted((c, v) for e in EXAMPLES for c, v in zip(e.correct, e.value, strict=True))
    assert wanted == sorted(pair for lesson in lessons for pair in lesson.labels)
