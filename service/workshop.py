"""The `surefoot verifier` command: how a verifier is made and measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from service.commands import SMALL, catalogue, explained, read_settings
from service.progress import Bar

if TYPE_CHECKING:
    from service.engines.base import Backend
    from verifier.scoring import VerifierBackend
    from verifier.training.data import Question, Rollout
    from verifier.training.report import Evaluation
    from verifier.training.rollouts import Sample
    from verifier.training.train import Step
    from verifier.training.trained import Trained

PSV = "psv"
PATIENCE = 3600.0  # seconds: a server with hundreds of prompts may be long at the first token

verifier = typer.Typer(
    help="Make and measure the verifier.", add_completion=False, no_args_is_help=True
)

Files = Annotated[list[Path], Argument(exists=True, dir_okay=False)]
Questions = Annotated[list[Path], Option(exists=True, dir_okay=False, help="May be repeated.")]
Folder = Annotated[Path, Argument(exists=True, file_okay=False, help="Of a training run.")]
Exclude = Annotated[Path | None, Option(help="JSON list of question ids to leave out.")]
Base = Annotated[str, Option(help="The model beneath the adapter: a name or a GGUF file.")]


@verifier.command()
def rollouts(
    questions: Files,
    out: Annotated[Path, Option(help="JSON lines; what is there is not drawn again.")],
    samples: Annotated[int, Option(min=1, help="Solutions a question and temperature.")] = 4,
    temperature: Annotated[list[float] | None, Option(help="May be repeated.")] = None,
    limit: Annotated[int | None, Option(min=1, help="Most questions.")] = None,
    skip: Annotated[int, Option(min=0, help="Questions to leave out before them.")] = 0,
    exclude: Exclude = None,
    max_tokens: Annotated[int, Option(min=1, help="Of one solution.")] = 400,
    at_once: Annotated[int, Option(min=1, help="Solutions in flight.")] = 32,
    engine: Annotated[str | None, Option(help="llamacpp, remote or scripted.")] = None,
    model: Annotated[str | None, Option(help="The policy: a model's name or file.")] = None,
    engine_url: Annotated[str | None, Option(help="Base URL of a remote engine.")] = None,
) -> None:
    """Sample and grade solutions to questions. Resumes; questions come shuffled, always alike."""

    async def run() -> None:
        from service.assembly import load_engine
        from verifier.training.rollouts import roll, wanted

        chosen = _questions(questions, exclude)[skip:][:limit]
        settings = read_settings(engine=engine, model=model, engine_url=engine_url)
        backend = await load_engine(settings, at_once, PATIENCE)
        try:
            policy = EnginePolicy(backend, max_tokens)
            draws = wanted(chosen, samples, temperature or [0.8], policy.name, out)
            with Bar(policy.name) as bar:
                await roll(draws, policy, out, at_once, _graded(bar, len(draws)))
        finally:
            await backend.close()

    with _told():
        asyncio.run(run())


@verifier.command()
def branch(
    rollouts: Files,
    out: Annotated[Path, Option(help="Questions, each with the steps to go on from.")],
    name: Annotated[str, Option("--verifier", help="As of `evaluate`.")] = PSV,
    scores: Annotated[Path | None, Option(help="File in which scores are kept.")] = None,
    most: Annotated[int, Option(min=1, help="Prefixes to choose.")] = 500,
) -> None:
    """Choose prefixes that the verifier is unsure about, for `rollouts` to go on from."""

    async def run() -> None:
        from verifier.scoring import Verdict
        from verifier.training.data import Rollout, read, write
        from verifier.training.scored import score
        from verifier.training.tree import branches

        rows = [row for file in rollouts for row in read(file, Rollout)]
        backend = await _verifier(name)
        try:
            with Bar(backend.name) as bar:
                scored = await score([row.chain for row in rows], backend, scores, bar)
        finally:
            await backend.close()
        write(out, branches(rows, [Verdict(each) for each in scored], most))

    with _told():
        asyncio.run(run())


@verifier.command()
def train(
    rollouts: Files,
    questions: Questions,
    out: Annotated[Path, Option(help="Folder of the run; goes on with what is there.")],
    exclude: Exclude = None,
    base: Base = SMALL,
    start: Annotated[Path | None, Option(help="Run whose adapter to begin with.")] = None,
    epochs: Annotated[int, Option(min=1, help="Times every path is shown.")] = 2,
    seed: Annotated[int, Option(help="Of shuffling, of corruptions and of first weights.")] = 0,
) -> None:
    """Train an adapter on graded rollouts and gold solutions. Resumes. Needs the extra `train`."""
    with _told():
        from verifier.training.curriculum import curriculum
        from verifier.training.data import Rollout, read
        from verifier.training.model import Model
        from verifier.training.train import Plan, train

        asked = _questions(questions, exclude)
        ids = {question.id for question in asked}
        rows = [row for file in rollouts for row in read(file, Rollout) if row.question_id in ids]
        lessons = curriculum(rows, asked, seed)
        lessons.save(out)
        plan = Plan(epochs=epochs, seed=seed)
        file = catalogue().resolve(base)
        model = (
            Model.saved(file, start, learns=True) if start else Model.fresh(file, plan.lora, seed)
        )
        with Bar(out.name) as bar:
            train(model, lessons.learned, plan, out, _trained(bar))


@verifier.command()
def export(
    run: Folder,
    dev: Annotated[list[Path], Option(exists=True, help="Process files for the threshold.")],
    out: Annotated[Path, Option(help="Folder of the adapter; its name becomes the verifier's.")],
    base: Base = SMALL,
    rollouts: Annotated[
        list[Path] | None,
        Option(exists=True, help="To questions it was not trained on, with certainties."),
    ] = None,
) -> None:
    """Calibrate a run's adapter on its held-out questions, choose its threshold, and write it out.

    The threshold is that of the highest F1 on the process files. With rollouts, the policy's
    certainty is blended into `value`. Needs the extra `train`.
    """
    with _told():
        from rich.console import Console

        from verifier.training.finish import finish
        from verifier.training.report import calibrated

        with Bar(run.name) as bar:
            trained = _in_torch(run, base)
            made = asyncio.run(finish(run, trained, base, dev, rollouts or [], out, bar))
        Console().print(calibrated(made.gains))
        typer.echo(f"{made.adapter.name}: threshold of correct {made.adapter.threshold.correct}")


@verifier.command()
def evaluate(
    files: Files,
    name: Annotated[
        str, Option("--verifier", help="psv, judge, or a FOLDER: exported, or of a run.")
    ] = PSV,
    threshold: Annotated[
        float | None, Option(min=0, max=1, help="Of `correct`. Default: the verifier's own.")
    ] = None,
    solutions: Annotated[int, Option(min=2, help="To choose from, a question.")] = 8,
    scores: Annotated[Path | None, Option(help="File in which scores are kept.")] = None,
    plot: Annotated[Path | None, Option(help="PNG to draw.")] = None,
) -> None:
    """Measure a verifier on process files and graded rollouts. Resumes with --scores.

    The last line is JSON.
    """

    async def run() -> Evaluation:
        backend = await _verifier(name)
        try:
            at = backend.threshold.correct if threshold is None else threshold
            with Bar(backend.name) as bar:
                return await measure(files, backend, bar, at, solutions, scores)
        finally:
            await backend.close()

    with _told():
        from rich.console import Console

        from verifier.training.evaluate import evaluate as measure
        from verifier.training.plot import plot as draw
        from verifier.training.report import tables

        found = asyncio.run(run())
        Console().print(*tables(found))
        if plot:
            draw(found, plot)
        typer.echo(found.as_json())


@contextmanager
def _told() -> Iterator[None]:
    """What a file, the verifier or the installation lacks is told in one sentence."""
    from service.errors import StartupError
    from verifier.adapter import AdapterError
    from verifier.scoring import VerifierError
    from verifier.training.data import DataError

    with explained():
        try:
            yield
        except (DataError, AdapterError, VerifierError) as error:
            raise StartupError(str(error)) from error
        except ModuleNotFoundError as error:
            raise StartupError(
                f"{error.name} is not installed; pip install 'surefoot-service[train]'"
            ) from error


@dataclass(frozen=True, slots=True)
class EnginePolicy:
    """An engine that is asked as the strategies ask it, as `rollouts` wants it.

    All of the distribution is drawn from (top_p 1): an outcome is to be an unbiased one.
    """

    engine: Backend
    max_tokens: int

    @property
    def name(self) -> str:
        return self.engine.name

    async def sample(self, question: str, begun: str, temperature: float) -> Sample | None:
        from service.engines.base import Delta, Message, Prompt, Sampling
        from service.solution import Path
        from service.strategies.attempt import Question
        from verifier.training.rollouts import Sample

        sampling = Sampling(temperature, 1.0, self.max_tokens, certainty=True)
        asked = Question((Message("user", question),), sampling).instructed()
        text, numbers = begun, list[tuple[int, float]]()

        def watch(delta: Delta) -> bool:
            nonlocal text
            numbers.extend((len(text) + end, probable) for end, probable in delta.numbers)
            text += delta.text
            return True

        (done,) = await self.engine.complete([Prompt(asked, begun)], sampling, watch)
        if done.finish == "failed":
            return None
        certainties = tuple(step.certainty for step in Path.parse(text).certain(numbers).steps)
        return Sample(done.text, done.usage.completion, done.finish, certainties)


async def _verifier(name: str) -> VerifierBackend:
    """One of the service's, as the settings have it, or a run's adapter in torch."""
    from service.assembly import load_verifier

    if _is_run(Path(name)):
        return _in_torch(Path(name), SMALL)
    return await load_verifier(read_settings(verifier=name))


def _is_run(folder: Path) -> bool:
    """Whether it holds an adapter that was not exported."""
    return folder.is_dir() and not (folder / "verifier.json").exists()


def _in_torch(run: Path, base: str) -> Trained:
    from verifier.training.model import Model
    from verifier.training.trained import Trained

    return Trained(Model.saved(catalogue().resolve(base), run), run.name)


def _questions(files: list[Path], exclude: Path | None) -> list[Question]:
    """Of all files, in the order of their own random numbers, so that a head is a fair sample."""
    import json

    from verifier.training.data import Question, fraction, read

    left_out = set(json.loads(exclude.read_text(encoding="utf-8"))) if exclude else set()
    rows = [row for file in files for row in read(file, Question) if row.id not in left_out]
    return sorted(rows, key=lambda row: fraction(row.id))


def _graded(bar: Bar, total: int) -> Callable[[Rollout], None]:
    """Tells the bar of rollouts as they come."""
    done = right = 0

    def told(row: Rollout) -> None:
        nonlocal done, right
        done, right = done + 1, right + row.correct
        bar(done, total, f"{right} right")

    return told


def _trained(bar: Bar) -> Callable[[Step], None]:
    """Tells the bar of a training run's steps."""

    def told(step: Step) -> None:
        bar(step.step, step.steps, f"loss {step.loss_correct:.3f}, {step.loss_value:.3f}")

    return told
