"""Questions that are not mathematics are answered as the policy answers them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chatting import chat
from staging import Playback, StatedVerifier, service

from service.engines.base import Message
from service.engines.scripted import ScriptedEngine
from service.openai.names import SLUGS
from service.openai.problem import is_problem
from service.strategies import prompts

GSM8K = Path(__file__).parents[3] / "bench/data/gsm8k-20.jsonl"
HAIKU = "Leaves whisper,\n\nAutumn's breath,\n\nPeace in the air."
JSON = '```json\n{\n  "name": "Jason",\n  "age": 25\n}\n```'
FREE = {
    "Write a haiku about 3 leaves and 2 trees.": HAIKU,
    "Translate into French: I have 3 cats. How many have you?": "J'ai 3 chats. Combien en as-tu ?",
    "Jason is 25 years old.\n\nReturn the correct JSON response within a ```json codeblock.": JSON,
    "What is my name?": "Your name is Ann.",
    "Write a function that adds 2 numbers.": "    def add(a, b):\n        return a + b",
    "Explain TCP.": "# TCP\n\n1. It connects.\n2. It sends.\n\n**Step 3:** it closes.",
}


DRAWN = {
    "stepco": 1,
    "single": 1,
    "adaptive": 1,
    "beam-search": 8,
    "dvts": 8,
    "particle-filter": 8,
}


@pytest.mark.parametrize("question", FREE)
@pytest.mark.parametrize("model", SLUGS)
def test_free_text_comes_back_as_the_policy_wrote_it(question: str, model: str) -> None:
    engine = ScriptedEngine(script := Playback(*[FREE[question]] * 10))
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": question}]
    with service(engine, StatedVerifier()) as client:
        answer = chat(client, model=f"surefoot-{model}", messages=turns)

    asked = (Message("system", "Be kind."), Message("user", question)), ""
    assert answer["choices"][0]["message"]["content"] == FREE[question]
    assert {asked} == {(prompt.messages, prompt.prefix) for prompt in script.prompts}
    assert len(script.prompts) == DRAWN.get(model, 10)
    assert answer["surefoot"]["answer"] is None
    assert not answer["surefoot"]["verified"]


def test_an_abstention_is_said_in_the_content_and_is_no_answer() -> None:
    engine = ScriptedEngine(Playback(*[f" a (0.3)\nAnswer: {k}" for k in range(4)]))
    turns = [{"role": "user", "content": "How many are 3 and 4?"}]
    with service(engine, StatedVerifier()) as client:
        knobs = {"strategy": {"abstain_below": 0.9}}
        answer = chat(client, model="surefoot-adaptive", messages=turns, surefoot=knobs)

    (choice,) = answer["choices"]
    assert (prompts.ABSTAINED, "stop") == (choice["message"]["content"], choice["finish_reason"])
    assert (None, "abstained") == (answer["surefoot"]["answer"], answer["surefoot"]["stop_reason"])


def test_stepco_leaves_what_states_no_answer_and_says_so() -> None:
    with service(ScriptedEngine(Playback("A bad verse (0.1).")), StatedVerifier()) as client:
        answer = chat(client, messages=[{"role": "user", "content": "Write a verse."}])

    assert answer["surefoot"]["stop_reason"] == "open_ended"
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_free_text_that_states_an_answer_is_verified_and_revised_without_our_labels() -> None:
    first = "It rains a lot (0.9).\n\nIt is known for rain (0.2). So the answer is Rome."
    with service(
        ScriptedEngine(Playback(first, "The answer is Oslo.")), StatedVerifier()
    ) as client:
        turns = [{"role": "user", "content": "Which capital is wet?"}]
        answer = chat(client, messages=turns)

    text = answer["choices"][0]["message"]["content"]
    assert text == "It rains a lot (0.9).\n\nThe answer is Oslo."
    assert (answer["surefoot"]["answer"], answer["surefoot"]["revisions"]) == ("Oslo", 1)


def test_free_text_cut_at_the_limit_says_so() -> None:
    with service(ScriptedEngine(lambda prompt, rng: "la " * 500)) as client:
        turns = [{"role": "user", "content": "Sing."}]
        answer = chat(client, messages=turns, max_completion_tokens=40)

    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 40


def test_a_problem_gets_our_format_and_is_begun_for_the_policy() -> None:
    engine = ScriptedEngine(script := Playback(" 3 + 4 = 7.\nAnswer: 7"))
    with service(engine, StatedVerifier()) as client:
        turns = [{"role": "user", "content": "How many are 3 apples and 4 pears?"}]
        chat(client, messages=turns)

    assert "Step k" in script.prompts[0].messages[0].content
    assert script.prompts[0].prefix == "Step 1:"


@pytest.mark.parametrize("line", GSM8K.read_text(encoding="utf-8").splitlines())
def test_every_gsm8k_question_is_a_problem(line: str) -> None:
    assert is_problem(json.loads(line)["question"])


@pytest.mark.parametrize(
    "question",
    [
        "What is 2 + 2?",
        "Compute $\\dbinom{5}{3}$.",
        "Find the value of $x$ such that $\\sqrt{x - 2} = 8$.",
        "Question: Ann has 10 pens and gives 4 away. How many are left?\nAnswer:",
    ],
)
def test_mathematics_is_a_problem(question: str) -> None:
    assert is_problem(question)


@pytest.mark.parametrize(
    "question",
    [
        *FREE,
        "Hi!",
        "What is the capital of France?",
        "Who won the world cup in 1998?",
        "Summarise: in 2019, 3 firms made 40% of sales.",
        "Tell me a joke about two elephants.",
        "How do I tie a tie?",
        "How many continents are there?",
        "Is Python 3.11 faster than 3.10?",
        "What happened on 9/11?",
        "What does HTTP 404 mean?",
        "Give me 5 names for a dog.",
        "Classify the sentiment: 'I waited 45 minutes for 2 coffees'.",
    ],
)
def test_conversation_is_no_problem(question: str) -> None:
    assert not is_problem(question)


@pytest.mark.parametrize("said", ['Reply in JSON: {"people": int}.', "```yaml\npeople: int\n```"])
def test_a_quantity_wanted_in_a_data_format_is_answered_in_that_format(said: str) -> None:
    engine = ScriptedEngine(script := Playback('{"people": 60000}'))
    with service(engine) as client:
        question = "How many people live in Ghent, if 3 in 4 of 80000 do?"
        turns = [{"role": "system", "content": said}, {"role": "user", "content": question}]
        answer = chat(client, messages=turns)

    assert answer["choices"][0]["message"]["content"] == '{"people": 60000}'
    assert not script.prompts[0].prefix
