"""What a report says of a run, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.report import cases, paper, pictures
from bench.report.board import ArmFigures, Difference
from bench.report.controls import Revision
from bench.report.document import Document, Part, Section, Table
from bench.report.found import Found
from bench.report.pools import Matched
from verifier.training.metrics import Figure

NOT_FOUND = "–"
BINS_LEAST = 50  # paths, fewer of which show no calibration


def document(found: Found, folder: Path, commands: Sequence[str]) -> Document:
    """The whole report; its pictures are drawn into the folder."""
    sets = ", ".join(found.board.datasets)
    seeds = len({solve.seed for solve in found.board.solves})
    lead = [
        f"{found.questions:,} questions of {sets}; {len(found.board.solves):,} solves with "
        f"{seeds} seed{'s' * (seeds > 1)}. Policy: {found.model}. Verifier: {found.verifier}.",
        "In brackets and as bars: 95 % intervals, by a bootstrap over questions. "
        + ("Of several sets the mean is told. " if len(found.board.datasets) > 1 else "")
        + "What the intervals do not set apart, this run does not either.",
    ]
    lead += [f"Made by `{line}`" for line in commands]
    makers: tuple[tuple[str, Callable[[Found, Path], Iterator[Part]]], ...] = (
        ("Accuracy for tokens", _accuracy),
        ("Set by set", _sets),
        ("Differences", _differences),
        ("At the same spending", _matched),
        ("Ceilings and flips", _controls),
        ("Tokens by kind", _tokens),
        ("Revisions", _revisions),
        ("Whether the verifier's word can be taken", _reliability),
        ("Beside the paper", _paper),
        ("What was graded as equal", _grading),
        ("Failures to read", cases.failures),
    )
    parts = [Section(title, list(maker(found, folder))) for title, maker in makers]
    return Document("Accuracy per token", lead, [section for section in parts if section.parts])


def _accuracy(found: Found, folder: Path) -> Iterator[Part]:
    yield pictures.pareto(found, folder)
    if found.pool:
        yield (f"The grey lines are what the samples of {found.pool} come to if fewer are drawn.")
    yield Table(
        (
            "arm",
            "solves",
            "right, %",
            "generated",
            "computed",
            "seconds",
            "failed",
            "cut short",
            "verified",
            "of these right, %",
        ),
        [
            (
                arm.arm,
                f"{arm.solves:,}",
                percent(arm.accuracy),
                number(arm.generated),
                number(arm.computed),
                f"{arm.seconds:.1f}",
                str(arm.failed or ""),
                str(arm.cut_short or ""),
                f"{arm.verified:,}",
                percent(arm.verified_right),
            )
            for arm in found.arms
        ],
        "Tokens and seconds are a question's in the mean; seconds are those of a solve among "
        "others in work. A solve that failed counts as wrong. Cut short: ended by its deadline, or "
        "for want of the engine, the verifier or the service itself, with what there was by then; "
        "an arm with many of these has not been measured. Verified: told as such.",
    )


def _sets(found: Found, folder: Path) -> Iterator[Part]:
    names = found.board.datasets
    if len(names) < 2:
        return
    yield pictures.by_set(found, folder)
    yield Table(
        ("arm", *names, "mean"),
        [
            (arm.arm, *(percent(arm.by_set[name]) for name in names), percent(arm.accuracy))
            for arm in found.arms
        ],
        "Right, %.",
    )


def _differences(found: Found, folder: Path) -> Iterator[Part]:
    if found.differences:
        yield Table(
            (
                "arm against arm",
                "pairs",
                "points",
                "told apart",
                "generated, times",
                "computed, times",
            ),
            [
                (
                    f"{each.arm} − {each.other}",
                    f"{each.units:,}",
                    points(each.accuracy),
                    _told_apart(each),
                    times(each.generated),
                    times(each.computed),
                )
                for each in found.differences
            ],
            "Paired: both arms had the same questions and seeds. Told apart: the interval of the "
            "points is clear of zero.",
            folded=len(found.differences) > 15,
        )


def _told_apart(difference: Difference) -> str:
    if not difference.clear or difference.accuracy is None:
        return "no"
    return "better" if difference.accuracy.value > 0 else "worse"


def _matched(found: Found, folder: Path) -> Iterator[Part]:
    if not found.matched:
        return
    yield (
        f"Each arm against fewer samples of {found.pool}, so many that they cost what the arm did. "
        "In the mean: one number of samples for all questions of a set, as a caller without the "
        "arm could have chosen it; this is the control to go by. By question: on each question "
        "what the arm spent there, which hands the control the arm's own judgement of what is hard."
    )
    main = [each for each in found.matched if (each.by, each.of) == ("mean", "generated")]
    others = [each for each in found.matched if each not in main]
    yield _matches(main, folded=False)
    yield _matches(others, folded=True)


def _matches(rows: Sequence[Matched], folded: bool) -> Table:
    return Table(
        (
            "arm",
            "against",
            "matched",
            "samples",
            "tokens",
            "control right, %",
            "arm's points over it",
            "used up",
        ),
        [
            (
                each.arm,
                each.chooser,
                f"{each.of}, {'in the mean' if each.by == 'mean' else 'by question'}",
                f"{each.n:.1f}",
                f"{each.spent:,.0f} of {each.budget:,.0f}",
                percent(each.accuracy),
                points(each.difference),
                str(each.short or ""),
            )
            for each in rows
        ],
        "Used up: questions whose samples did not suffice, so that the control had less than the "
        "arm; with one sample at the least, it may have had more.",
        folded,
    )


def _controls(found: Found, folder: Path) -> Iterator[Part]:
    yield _ceilings(found)
    yield _flips(found)


def _ceilings(found: Found) -> Table:
    final = {arm.arm: arm.accuracy for arm in found.arms}
    return Table(
        (
            "arm",
            "first draft right, %",
            "answer right, %",
            "oracle gate",
            "oracle locator",
            "oracle selector",
        ),
        [
            (
                each.arm,
                percent(each.draft),
                percent(final[each.arm]),
                percent(each.oracle_gate),
                percent(each.oracle_locator),
                percent(each.oracle_selector),
            )
            for each in found.controls
        ],
        "Over all solves. Gate: no draft that is right was touched. Locator (an estimate): a wrong "
        "draft with a false equation ends right as often as revisions that began at the first one. "
        "Selector: a right path is taken wherever one was seen.",
    )


def _flips(found: Found) -> Table:
    return Table(
        (
            "arm",
            "right → wrong, % of right drafts",
            "% of all",
            "wrong → right, % of wrong drafts",
            "wrong without a right path, %",
        ),
        [
            (
                each.arm,
                percent(each.broken),
                percent(each.broken_of_all),
                percent(each.mended),
                percent(each.hopeless),
            )
            for each in found.controls
        ],
        "From the first draft to the answer. The last: of the wrong answers, those where no path "
        f"that was seen is right. The paper has {paper.FLIPS:.1%} right → wrong on GSM8K, and "
        f"{paper.HOPELESS:.1%} of Best-of-10's errors without a right sample, of other models.",
    )


def _tokens(found: Found, folder: Path) -> Iterator[Part]:
    yield pictures.tokens(found, folder)
    yield Table(
        (
            "arm",
            "prompt",
            "of it cached",
            "generated",
            "of it lost",
            "verifier",
            "computed",
            "computed, times",
        ),
        [_token_row(arm, found) for arm in found.arms],
        "A question's in the mean. Computed: prompt − cached + generated + verifier. Lost: "
        f"generated in calls that came to nothing. Times: of {_reference(found).arm}.",
    )


def _token_row(arm: ArmFigures, found: Found) -> tuple[str, ...]:
    tokens, reference = arm.tokens, _reference(found).tokens.computed
    counts = (tokens.prompt, tokens.cached, tokens.generated, tokens.wasted, tokens.verifier)
    share = f"{tokens.computed / reference:.2f}" if reference else NOT_FOUND
    return (arm.arm, *(f"{count:,.0f}" for count in counts), f"{tokens.computed:,.0f}", share)


def _reference(found: Found) -> ArmFigures:
    """What others are measured against: the arm of most samples, or else the first."""
    return next((arm for arm in found.arms if arm.arm == found.pool), found.arms[0])


def _revisions(found: Found, folder: Path) -> Iterator[Part]:
    if not found.revisions:
        return
    yield pictures.revisions(found, folder)
    yield Table(
        (
            "arm",
            "revisions",
            "wrong → right",
            "right → wrong",
            "right kept",
            "wrong kept",
            "began at the error",
            "before it",
            "behind it",
        ),
        [(arm, *_revision_row(made)) for arm, made in found.revisions.items()],
        "Revisions one by one, each against the path it was made from. The last three: of wrong "
        "paths with a false equation, where the revision began, and how many of those were mended.",
    )


def _revision_row(made: Sequence[Revision]) -> tuple[str, ...]:
    def count(before: bool, after: bool) -> str:
        return f"{sum((r.before, r.after) == (before, after) for r in made):,}"

    def mended(chosen: Callable[[int, int], bool]) -> str:
        own = [r for r in made if r.error and not r.before and chosen(r.step, r.error)]
        return f"{len(own):,} ({sum(r.after for r in own):,})"

    outcomes = count(False, True), count(True, False), count(True, True), count(False, False)
    places = (
        mended(lambda step, error: step == error),
        mended(lambda step, error: step < error),
        mended(lambda step, error: step > error),
    )
    return (f"{len(made):,}", *outcomes, *places)


def _reliability(found: Found, folder: Path) -> Iterator[Part]:
    if max((each.paths for each in found.reliability), default=0) < BINS_LEAST:
        return
    yield pictures.calibration(found, folder)
    yield Table(
        (
            "paths",
            "number",
            "right, %",
            "calibration error (ECE)",
            "squared error (Brier)",
            "right told from wrong (ROC-AUC)",
        ),
        [
            (
                each.kind,
                f"{each.paths:,}",
                f"{100 * each.right:.1f}",
                number(each.quality.ece, 3),
                number(each.quality.brier, 3),
                number(each.quality.roc_auc, 3),
            )
            for each in found.reliability
        ],
        "`value` at a path's last step against its outcome; what several arms saw counts once.",
    )


def _paper(found: Found, folder: Path) -> Iterator[Part]:
    names = [name for name in found.board.datasets if name in paper.SETS]
    if not names:
        return
    rows = [
        (f"{arm.arm} · ours, {found.model}", *(percent(arm.by_set[name]) for name in names))
        for arm in found.arms
    ]
    rows += [
        (f"{method} · paper, {model}", *(f"{numbers[name]:.1f}" for name in names))
        for (model, method), numbers in paper.TABLE.items()
    ]
    yield Table(
        ("right, %", *names),
        rows,
        f"**Other models, other verifiers**: what can be compared is how methods stand to each "
        f"other, not the numbers. Paper: {paper.SOURCE}. It says that StepCo took "
        f"{paper.SAVING:.1%} fewer tokens than Best-of-10, not how they were counted.",
    )


def _grading(found: Found, folder: Path) -> Iterator[Part]:
    rows = cases.judged(found)
    if rows:
        yield Table(
            ("answer", "right answer", "graded"),
            rows,
            "Verdicts on answers that are written differently, to be looked over: first those "
            "graded right, then those graded wrong that look most alike.",
            folded=True,
        )


def percent(found: Figure | None) -> str:
    if found is None:
        return NOT_FOUND
    value, low, high = (100 * part for part in (found.value, found.low, found.high))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def points(found: Figure | None) -> str:
    if found is None:
        return NOT_FOUND
    value, low, high = (f"{100 * part:+.1f}" for part in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


def times(found: Figure | None) -> str:
    if found is None:
        return NOT_FOUND
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def number(found: Figure | None, places: int = 0) -> str:
    if found is None:
        return NOT_FOUND
    value, low, high = (f"{part:,.{places}f}" for part in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"
