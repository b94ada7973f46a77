"""The log of a solve: append-only, one draft after another, each revision with its reason."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from service.events import CandidateFound, Drafted, Revised, TextWritten, Verified, Warned
from service.openai.reasoning import Log
from service.solution import Path, Solution
from verifier.scoring import Cost, Score


def log() -> tuple[Log, list[str]]:
    told: list[str] = []
    return Log(told.append), told


def path(text: str, *correct: float, round: int = 0, sample: int = 0) -> Path:
    parsed = Path.parse(text, round=round, sample=sample)
    return parsed.scored([Score(each, each) for each in correct]) if correct else parsed


def test_a_draft_its_scores_and_what_is_revised_and_why() -> None:
    heard, told = log()
    first, second = "Step 1: a\nStep 2: b\nAnswer: 5", "Step 1: a\nStep 2: c\nAnswer: 6"

    for text in ("Step 1:", " a", "\nStep 2: b\nAnswer: 5"):
        heard.hear(TextWritten(0, 0, text, 1))
    heard.hear(Drafted(path(first)))
    heard.hear(Verified(path(first, 0.9, 0.2), 1, Cost()))
    heard.hear(TextWritten(1, 0, "Step 2: c\nAnswer: 6", 3))
    heard.hear(Revised(path(second, round=1), 1, 0.2))
    heard.hear(Verified(path(second, 0.9, 0.8, round=1), None, Cost()))
    heard.choose(Solution(path(second, 0.9, 0.8, round=1), True, 0.8, "accepted"))

    assert heard.text == (
        "Draft 1\nStep 1: a\nStep 2: b\nAnswer: 5\n\n"
        "Draft 1 scored 0.90, 0.20, step by step; step 2 is in doubt.\n\n"
        "Revision 1, from step 2\nStep 2: c\nAnswer: 6\n\n"
        "Revision 1 scored 0.90, 0.80, step by step; no step is in doubt.\n\n"
        "Chosen: revision 1 (accepted).\n\n"
    )
    assert "".join(told) == heard.text


def test_text_is_told_as_soon_as_it_comes() -> None:
    heard, told = log()

    heard.hear(TextWritten(0, 0, "Step 1:", 1))
    heard.hear(TextWritten(0, 0, " a", 1))

    assert told == ["Draft 1\n", "Step 1:", " a"]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=30), st.permutations(range(4)))
def test_of_samples_written_at_once_each_is_shown_whole_and_in_one_piece(
    order: list[int], ends: list[int]
) -> None:
    heard, told = log()
    texts = [f"<{sample}" for sample in range(4)]
    for sample in range(4):
        heard.hear(TextWritten(0, sample, f"<{sample}", 1))
    for at, sample in enumerate(order):
        texts[sample] += f" {at}"
        heard.hear(TextWritten(0, sample, f" {at}", 1))
    for sample in ends:
        heard.hear(Drafted(path(texts[sample], sample=sample)))

    assert "".join(told) == heard.text
    for sample, text in enumerate(texts):
        assert f"Draft {sample + 1}\n{text}\n\n" in heard.text


def test_a_sample_that_never_ended_does_not_hold_back_the_others() -> None:
    heard, _ = log()

    heard.hear(TextWritten(0, 0, "lost", 1))
    heard.hear(TextWritten(0, 1, "kept", 1))
    heard.hear(Drafted(path("kept", sample=1)))
    heard.hear(Warned("1 of 2 samples failed and were left out."))

    assert heard.text.startswith("Draft 1\nlost\n\nDraft 2\nkept\n\n1 of 2")


def test_of_several_paths_it_is_not_guessed_which_is_left() -> None:
    heard, _ = log()

    for sample in range(2):
        heard.hear(Verified(path("Step 1: a\nAnswer: 5", 0.9, sample=sample), 0, Cost()))
    for sample in range(2):
        heard.hear(TextWritten(1, sample, "b", 1))
        heard.hear(Revised(path("Step 1: b", round=1, sample=sample), 0, 0.9))

    assert "\n\nRevision 1\nb\n\nRevision 1, path 2\nb\n\n" in heard.text


def test_samples_that_no_verifier_reads_are_told_by_their_answers() -> None:
    heard, _ = log()

    heard.hear(CandidateFound(2, "7", None, 9))
    heard.hear(CandidateFound(3, None, None, 9))

    assert heard.text == "Draft 3 answers 7.\n\nDraft 4 answers nothing.\n\n"


def test_text_that_states_no_answer_is_said_to_state_none() -> None:
    heard, _ = log()

    heard.hear(Verified(path("A verse.", 0.4), 0, Cost()))

    assert heard.text == "Draft 1 scored 0.40; it states no final answer.\n\n"
