"""Trains the adapter: binary cross-entropy on soft labels at every marker, for both readouts.

One forward pass a pack of paths; the layers below the adapter are frozen and their output is kept,
so that epochs after the first cost the upper layers alone. The state is saved as it goes: a killed
run goes on where it was. What is trained on is `examples`' business, the text read that of `steps`.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from verifier.training.data import DataError, held, write
from verifier.training.examples import Example
from verifier.training.model import Lora, Model, Pack, bins, pack

if TYPE_CHECKING:
    from torch import Tensor

STATE = "state.pt"
METRICS = "metrics.jsonl"
SAVE_EVERY = 300.0  # seconds
WARM_UP = 0.05  # share of all steps


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train. `pack` and `batch` are tokens: of one forward pass, of one optimizer step."""

    lora: Lora = field(default_factory=Lora)
    epochs: int = 2
    rate: float = 3e-4
    decay: float = 0.01
    pack: int = 512
    batch: int = 2048
    seed: int = 0


class Step(BaseModel, frozen=True):
    """One optimizer step's metrics; `seconds` since the run was begun, resumed ones added up."""

    step: int
    steps: int
    epoch: float
    loss_correct: float
    loss_value: float
    rate: float
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Lesson:
    """A pack and the labels at its markers: (markers, 2), NaN where nothing is known."""

    pack: Pack
    labels: list[tuple[float, float]]


def train(
    model: Model,
    examples: Sequence[Example],
    plan: Plan,
    out: Path,
    told: Callable[[Step], None],
) -> None:
    """Train `model`'s adapter and save it in `out`. Resumes from `out`'s state if there is one.

    Raises `DataError` if that state is of another plan or other examples.
    """
    out.mkdir(parents=True, exist_ok=True)
    lessons = [*lay_out(model, examples, plan)]
    run = Run(model, plan, out, batches(lessons, plan), _course(lessons, plan))
    done = run.resume()
    write(out / METRICS, islice(held(out / METRICS, Step), done))
    kept: dict[int, Tensor] = {}
    with (out / METRICS).open("a", encoding="utf-8") as log:
        for step in run.steps(lessons, kept):
            log.write(f"{step.model_dump_json()}\n")
            log.flush()
            told(step)
    run.save()
    model.network.save_pretrained(out)


def lay_out(model: Model, examples: Sequence[Example], plan: Plan) -> Iterator[Lesson]:
    """The lessons, paths of one question together, questions shuffled by the seed."""
    ordered = sorted(examples, key=lambda each: each.question_id)
    groups = [list(group) for _, group in groupby(ordered, key=lambda each: each.question)]
    random.Random(plan.seed).shuffle(groups)
    flat = [each for group in groups for each in group]
    paths = [model.tokens(each.chain) for each in flat]
    for numbers in bins(paths, plan.pack):
        labels = [
            (math.nan if correct is None else correct, math.nan if value is None else value)
            for number in numbers
            for correct, value in zip(flat[number].correct, flat[number].value, strict=True)
        ]
        yield Lesson(pack([paths[number] for number in numbers]), labels)


def batches(lessons: Sequence[Lesson], plan: Plan) -> list[list[int]]:
    """For every optimizer step of all epochs, the numbers of its lessons."""
    order, shuffled = list(range(len(lessons))), random.Random(plan.seed)
    made: list[list[int]] = []
    for _ in range(plan.epochs):
        shuffled.shuffle(order)
        batch: list[int] = []
        for number in order:
            batch.append(number)
            if sum(len(lessons[each].pack.ids) for each in batch) >= plan.batch:
                made.append(batch)
                batch = []
        if batch:
            made.append(batch)
    return made


def _course(lessons: Sequence[Lesson], plan: Plan) -> str:
    """What a run is known by: its plan and what it learns, in order."""
    course = hashlib.sha256(repr(plan).encode())
    for lesson in lessons:
        course.update(repr((lesson.pack.ids, lesson.labels)).encode())
    return course.hexdigest()


class Run:
    """An optimizer, its schedule, and how far they are."""

    def __init__(
        self, model: Model, plan: Plan, out: Path, batches: list[list[int]], course: str
    ) -> None:
        import torch

        self._model = model
        self._plan = plan
        self._file = out / STATE
        self._batches = batches
        self._course = course
        self._weights = {
            name: weight
            for name, weight in model.network.named_parameters()
            if weight.requires_grad
        }
        self._optimizer = torch.optim.AdamW(
            self._weights.values(), lr=plan.rate, weight_decay=plan.decay
        )
        self._done = 0
        self._seconds = 0.0

    def resume(self) -> int:
        """How many steps were done before. Raises `DataError`."""
        import torch

        if self._file.exists():
            state = torch.load(self._file, weights_only=True)
            if state["course"] != self._course:
                raise DataError(
                    f"{self._file} was saved with other rollouts or another plan; "
                    "go on with those, or train in a new folder."
                )
            for name, weight in self._weights.items():
                weight.data.copy_(state["weights"][name])
            self._optimizer.load_state_dict(state["optimizer"])
            self._done, self._seconds = state["done"], state["seconds"]
        return self._done

    def save(self) -> None:
        import torch

        part = self._file.with_suffix(".part")
        state: dict[str, Any] = {
            "weights": {name: weight.data for name, weight in self._weights.items()},
            "optimizer": self._optimizer.state_dict(),
            "course": self._course,
            "done": self._done,
            "seconds": self._seconds,
        }
        torch.save(state, part)
        part.replace(self._file)

    def steps(self, lessons: Sequence[Lesson], kept: dict[int, Tensor]) -> Iterator[Step]:
        began = saved = time.monotonic() - self._seconds
        total = len(self._batches)
        while self._done < total:
            numbers = self._batches[self._done]
            rate = self._rate(self._done / total)
            correct, value = self._update([(n, lessons[n]) for n in numbers], kept, rate)
            self._done += 1
            self._seconds = time.monotonic() - began
            tokens = sum(len(lessons[number].pack.ids) for number in numbers)
            epoch = self._plan.epochs * self._done / total
            yield Step(
                step=self._done,
                steps=total,
                epoch=epoch,
                loss_correct=correct,
                loss_value=value,
                rate=rate,
                tokens=tokens,
                seconds=round(self._seconds, 1),
            )
            if time.monotonic() - saved > SAVE_EVERY:
                saved = time.monotonic()
                self.save()

    def _update(
        self, lessons: list[tuple[int, Lesson]], kept: dict[int, Tensor], rate: float
    ) -> tuple[float, float]:
        """One optimizer step; the mean loss of each readout over its labelled markers."""
        import torch

        labels = [torch.tensor(lesson.labels) for _, lesson in lessons]
        known = (~torch.cat(labels).isnan()).sum(0).clamp(min=1)
        losses = torch.zeros(2)
        for (number, lesson), wanted in zip(lessons, labels, strict=True):
            if number not in kept:
                kept[number] = self._model.lower(lesson.pack)
            loss = _loss(self._model.logits(lesson.pack, kept[number]), wanted) / known
            loss.sum().backward()
            losses += loss.detach()
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        torch.nn.utils.clip_grad_norm_(self._weights.values(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(losses[0]), float(losses[1])

    def _rate(self, share: float) -> float:
        """Linear warm-up, then half a cosine down to a twentieth."""
        if share < WARM_UP:
            return self._plan.rate * (share + 1e-3) / WARM_UP
        fall = (share - WARM_UP) / (1 - WARM_UP)
        return self._plan.rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * fall)))


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Summed cross-entropy of each readout over the markers whose label is known: (2,)."""
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    known = ~labels.isnan()
    losses = cross_entropy(logits, labels.nan_to_num(), reduction="none")
    return (losses * known).sum(0)
