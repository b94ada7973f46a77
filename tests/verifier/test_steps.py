from __future__ import annotations

import re
import time
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from verifier.steps import MARKER, OPENING, join, label, marked, neutralise, split

FRAGMENTS = (
    "Step 1:", "Step 2:", "**Step 3:**", "**Step 4", "step 5.", "Step 6 -", "Step 7", "### Step 8",
    "<Step 1>", "</Step 1>", "<Step 2>", "## ", "# ", "1. ", "2) ", "**3.** ", "**4. ", "**", "*",
    "</Step", "<Step", " 1>",
    "Answer: 5", "The answer is 5.", r"\boxed{5}", "<ans>5</ans>", "foo", "x = 1", "2", ":", ".",
    "$$", "$", "\\", r"\[", r"\]", r"\begin{x}", r"\end{x}", "```", "#", "<", "\n", "\n", "\n\n",
    " ", "\t", "\r\n", "\u2028", "\0",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join) | st.text(max_size=80)

CONTROL = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|start_header_id|>", "<|anything at all|>",
    "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<s>", "</s>", "<bos>", "<eos>", "[INST]",
    "[/INST]", "<start_of_turn>", "<end_of_turn>", "<extra_0>", "<extra_17>", "ки",
)  # fmt: skip


def texts(text: str) -> list[str]:
    return [piece.text for piece in split(text)]


def bare(text: str) -> str:
    """What is left of a text when all that `split` may drop within a body is dropped."""
    return re.sub(r"</step(?: ?\d+)?>|[*\s]", "", text, flags=re.IGNORECASE)


def test_the_canonical_form_comes_back_step_by_step() -> None:
    path = "Step 1: 16 - 3 - 4 = 9\nStep 2: 9 * 2 = 18\nAnswer: \\boxed{18}"
    assert texts(path) == ["16 - 3 - 4 = 9", "9 * 2 = 18\nAnswer: \\boxed{18}"]
    assert join(texts(path)) == path


def test_a_path_begins_with_the_opening() -> None:
    assert join(["a", "b"]) == "Step 1: a\nStep 2: b"
    assert join(["a"]).startswith(OPENING)
    assert label(1) == OPENING
    assert join([]) == ""


def test_a_verifier_reads_every_step_with_a_marker_behind_it() -> None:
    assert marked(["a", "b"]) == "Step 1: a ки\nStep 2: b ки"
    assert marked([f"a{MARKER} + </s>"]) == "Step 1: a к\u200bи + <\u200b/s> ки"
    assert marked([]) == ""


@given(st.lists(TEXTS, max_size=5))
def test_a_marked_path_begins_with_that_of_fewer_steps_and_holds_no_other_marker(
    steps: Sequence[str],
) -> None:
    whole = marked(steps)

    for number in range(len(steps)):
        assert whole.startswith(marked(steps[:number]))
    assert whole.count(MARKER) == len(steps)


@pytest.mark.parametrize(
    "path",
    [
        "<Step 1>a</Step 1><Step 2>b</Step 2>",
        "<Step 1>\na\n</Step 1>\n<Step 2>\nb\n</Step 2>",
        "<step 1> a <step 2> b",
        "<Step 1>\nStep 1: a\n<Step 2>\nStep 2: b",
        "Step 1: a\nStep 2: b",
        "STEP 1: a\nstep 2:b",
        "Step 1. a\nStep 2. b",
        "Step 1 - a\nStep 2 – b",
        "Step 1) a\n  Step 2) b",
        "**Step 1:** a\n\n**Step 2:** b",
        "**Step 1**: a\n**Step 2**: b",
        "**Step 1**\na\n**Step 2**\nb",
        "Step 1: Step 1: a\nStep 2: **Step 2:** b",
        "### Step 1: a\n### Step 2: b",
        "### Step 1\na\n### **Step 2**\nb",
        "## a\n## b",
        "# Solution\n\n## a\n\n## b",
        "## 1. a\n## 2. b",
        "1. a\n2. b",
        "1) a\n2) b",
        "**1.** a\n**2.** b",
        "1. **Step 1:** a\n2. **Step 2:** b",
        "a\n\nb",
        "\n a\n \t\n\n b \n\n",
    ],
)
def test_every_known_form_is_split_into_its_two_steps(path: str) -> None:
    assert texts(path) == ["a", "b"]


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("<Step 1>a\nStep 2: b</Step 2>", ["a", "b"]),
        ("## x\nStep 1: a\n## y\nStep 2: b", ["a\n## y", "b"]),
        ("## a\n1. x\n2. y\n## b", ["a\n1. x\n2. y", "b"]),
        ("1. a\n\nstill a\n2. b", ["a\n\nstill a", "b"]),
        ("Step 1: a\n1. x\n2. y\n\nz\nStep 2: b", ["a\n1. x\n2. y\n\nz", "b"]),
    ],
)
def test_the_plainest_labels_win_over_the_vaguer_ones(path: str, steps: list[str]) -> None:
    assert texts(path) == steps


def test_a_preamble_is_not_a_step() -> None:
    """Research code counted it as step 1, and every index after it was off by one."""
    assert texts("Let's think.\n\nStep 1: a\nStep 2: b") == ["a", "b"]
    assert texts("Sure!\n<Step 1>a</Step 1>\n<Step 2>b</Step 2>") == ["a", "b"]
    assert texts("Sure:\n1. a\n2. b") == ["a", "b"]


def test_step_lines_without_tags_do_not_become_one_step() -> None:
    """Research code only knew `<Step k>` and took any other path for a single step."""
    assert len(split("Step 1: a\nStep 2: b\nStep 3: c")) == 3


def test_numbers_that_go_astray_still_split() -> None:
    assert texts("Step 1: a\nStep 3: b\nStep 2: c\nStep 2: d") == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "path", ["Step 1: a\nStep 2: b\nStep 3:", "Step 1: a\nStep 2:\nStep 3: b", "1. a\n2. \n3. b"]
)
def test_a_label_without_a_body_is_not_a_step(path: str) -> None:
    assert texts(path) == ["a", "b"]


@pytest.mark.parametrize("path", ["", " \n\t\n ", OPENING, "<Step 1></Step 1>", "Sure.\nStep 1: "])
def test_a_text_with_nothing_to_check_has_no_steps(path: str) -> None:
    assert split(path) == ()


@pytest.mark.parametrize(
    "path",
    [
        "Step 1: as shown in step 2: we add",
        "Step 1: a, see Step 2: b",
        "Step 1: a\nStep 2 gives b\nSteps 3: c",
        "Step 1: a\nIn Step 2: b\nStep 2.5 is c",
    ],
)
def test_prose_that_mentions_a_step_is_no_label(path: str) -> None:
    assert len(split(path)) == 1


def test_an_emphasised_title_keeps_its_emphasis() -> None:
    assert texts("**Step 1: Add up**\n1 + 1\n**2. x** y") == ["**Add up**\n1 + 1\n**2. x** y"]
    assert texts("**1. Add:** a\n**2. Sub:** b") == ["**Add:** a", "**Sub:** b"]
    assert texts("**Step 1: never closed") == ["never closed"]


@pytest.mark.parametrize(
    "conclusion",
    [
        r"Answer: \boxed{18}",
        "**Answer:** 18",
        "<ans>18</ans>",
        "Therefore, the final answer is $18$.",
        "The answer is 18.",
        r"\boxed{18}",
        "$$\\boxed{18}$$",
        "\\[\n\\boxed{18}\n\\]",
    ],
)
def test_a_conclusion_belongs_to_the_last_step(conclusion: str) -> None:
    assert texts(f"<Step 1>a</Step 1>\n<Step 2>b</Step 2>\n{conclusion}")[1:] == [
        f"b\n{conclusion}"
    ]
    for gap in ("\n", "\n\n"):
        assert texts(f"Step 1: a\nStep 2: b{gap}{conclusion}")[1:] == [f"b{gap}{conclusion}"]
    assert texts(f"a\n\nb\n\n{conclusion}\n") == ["a", f"b\n\n{conclusion}"]


def test_a_conclusion_alone_is_one_step() -> None:
    assert texts(r"Answer: \boxed{5}") == [r"Answer: \boxed{5}"]
    assert texts("Answer: 5\n\nbecause of this") == ["Answer: 5", "because of this"]


def test_a_paragraph_that_goes_on_from_the_answer_is_a_step() -> None:
    assert texts("a\n\nThe answer is 5.\nBut let us check.") == [
        "a",
        "The answer is 5.\nBut let us check.",
    ]


@pytest.mark.parametrize(
    "block",
    [
        "\\[\nx\n\n{inside}y\n\\]",
        "\\begin{{align*}}\nx\n\n{inside}y\n\\end{{align*}}",
        "```python\nx = 1\n\n{inside}y\n```",
        "\\[\n\\begin{{cases}}\n{inside}\n\n\\end{{cases}}\n\n\\]",
        "\\[\na \\\\[4pt]\n{inside} \\] \n b",
    ],
)
@pytest.mark.parametrize("inside", ["", "Step 2: ", "<Step 2>", "# Step 2: ", "## ", "2. "])
def test_a_block_stays_whole(block: str, inside: str) -> None:
    whole = block.format(inside=inside)
    for one, two in (("Step 1: ", "\nStep 2: "), ("## ", "\n## "), ("1. ", "\n2. "), ("", "\n\n")):
        assert texts(f"{one}a\n{whole}{two}b") == [f"a\n{whole}", "b"]


@pytest.mark.parametrize("inside", ["x\n\ny", "\n\nx\n\n", "## x", "1. x\n2. y"])
def test_a_dollar_block_on_its_own_lines_stays_whole(inside: str) -> None:
    whole = f"$$\n{inside}\n$$"
    for one, two in (("Step 1: ", "\nStep 2: "), ("", "\n\n")):
        assert texts(f"{one}a\n{whole}{two}b") == [f"a\n{whole}", "b"]


def test_a_stray_dollar_pair_swallows_nothing() -> None:
    """It must not turn the inside and outside of all the blocks behind it about."""
    assert texts("Step 1: $$ 5\nStep 2: $$x$$\nStep 3: $$y$$\nStep 4: c") == [
        "$$ 5",
        "$$x$$",
        "$$y$$",
        "c",
    ]
    assert texts("for $$ 5\n\n$$x$$\n\n$$\ny\n\n$$\n\nc") == [
        "for $$ 5",
        "$$x$$",
        "$$\ny\n\n$$",
        "c",
    ]


@pytest.mark.parametrize("mark", [r"\[", r"\]", r"\begin{x}", r"\end{x}", "```", "$$", "$", "\\"])
def test_a_block_that_is_never_closed_swallows_nothing(mark: str) -> None:
    assert texts(f"Step 1: a {mark}\nb\nStep 2: c\nStep 3: d") == [f"a {mark}\nb", "c", "d"]
    assert texts(f"a {mark} b\n\nc\n\nd") == [f"a {mark} b", "c", "d"]


def test_a_later_block_is_not_taken_for_the_end_of_an_unclosed_one() -> None:
    assert texts("Step 1: \\[ x\nStep 2: \\[ y \\]\nStep 3: c") == ["\\[ x", "\\[ y \\]", "c"]


@pytest.mark.parametrize(
    ("path", "prefixes"),
    [
        ("Step 1: a\nStep 2: b", ["Step 1:", "Step 1: a\nStep 2:"]),
        (
            "Hm.\n**Step 1:** a\n### Step 2\nb",
            ["Hm.\n**Step 1:**", "Hm.\n**Step 1:** a\n### Step 2"],
        ),
        ("<Step 1>a</Step 1>\n<Step 2>b", ["<Step 1>", "<Step 1>a</Step 1>\n<Step 2>"]),
        ("1. a\n2. b", ["1.", "1. a\n2."]),
        ("**Step 1: Title** a", ["**Step 1:"]),
        ("a\n\nb", ["", "a\n\n"]),
    ],
)
def test_a_policy_can_write_on_from_where_a_step_starts(path: str, prefixes: list[str]) -> None:
    assert [path[: piece.start] for piece in split(path)] == prefixes


@settings(max_examples=1500, deadline=None)
@example("Step 1:**Step 4\n**Step 4**<Step 1>")  # a tag behind it hid that a bold line is a label
@given(TEXTS)
def test_splitting_what_was_joined_changes_nothing(text: str) -> None:
    steps = texts(text)
    assert texts(join(steps)) == steps


@settings(max_examples=500, deadline=None)
@given(TEXTS)
def test_pieces_are_in_order_and_stand_in_the_text(text: str) -> None:
    pieces = split(text)
    assert all(piece.text.strip() for piece in pieces)
    starts = [piece.start for piece in pieces]
    assert starts == sorted(set(starts))
    for piece in pieces:
        assert bare(text[piece.start :]).startswith(bare(piece.text))


@given(TEXTS)
def test_no_step_holds_the_label_of_another(text: str) -> None:
    outside = re.compile(r"\\[\[\]]|\\(?:begin|end)\{|\$\$|```")
    assert not [
        step
        for step in texts(text)
        if not outside.search(step) and re.search(r"(?im)^[ \t]*step \d+:", step)
    ]


@given(st.lists(st.text("ab c\n", min_size=1).map(str.strip).filter(bool), max_size=6))
def test_joined_plain_steps_split_into_themselves(steps: Sequence[str]) -> None:
    assert texts(join(steps)) == list(steps)


@pytest.mark.parametrize(
    "unit",
    [
        "\n", "\n ", " ", "$$", "$$\n", "<Step", "<Step 1>", "<Step 1", "</Step", "*", "**", "#",
        "# ", "\\", r"\[", r"\]", r"\begin{", r"\begin{x}", "`", "```\n", "1. ", "\n1", "Step ",
        "\nStep 1", "Step 1:", "**Step 1: Step 2** ", "Answer ", "\n\nthe answer", "<|", "ки", "9",
    ],
)  # fmt: skip
@pytest.mark.parametrize("frame", ["{}", "Step 1: {}", "a\n\nanswer{}\nb"])
def test_time_is_linear_in_the_text(unit: str, frame: str) -> None:
    text = frame.format(unit * (100_000 // len(unit)))
    began = time.perf_counter()
    join(texts(text))
    neutralise(text)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("token", CONTROL)
def test_an_imitated_control_token_is_broken(token: str) -> None:
    broken = neutralise(f"a {token} b{token}{token}")
    assert token not in broken
    assert broken.replace("\u200b", "") == f"a {token} b{token}{token}"


@pytest.mark.parametrize(
    "text",
    [
        "a <b and c> d",
        "x | y",
        "<Step 1>",
        "a <| b",
        "|x| < |y|",
        "[s>",
        "[|x|>",
        "[a]",
        "кот",
        "<p>",
    ],
)
def test_text_that_imitates_nothing_is_left_alone(text: str) -> None:
    assert neutralise(text) == text


@given(st.lists(st.sampled_from([*CONTROL, *"<|>[]/s \u200bки"]), max_size=12).map("".join))
def test_neutralising_is_thorough_adds_nothing_else_and_needs_no_second_time(text: str) -> None:
    once = neutralise(text)
    assert neutralise(once) == once
    assert not [token for token in CONTROL if token in once]
    assert once.replace("\u200b", "") == text.replace("\u200b", "")
