"""What is asked: from a declarative file and a seed, and from nothing else."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loading import plan

from bench.load import mix
from bench.load.arrivals import moments
from bench.load.mix import MIXES, Plan
from bench.load.orders import CHAT, SOLVE, Orders
from service.errors import StartupError
from service.openai.request import ChatRequest
from service.routes.shapes import SolveRequest


@pytest.mark.parametrize("file", sorted(MIXES.glob("*.toml")), ids=lambda file: file.stem)
def test_every_mix_that_ships_can_be_asked(file: Path) -> None:
    found = mix.plan(file.stem)

    assert file.stem == found.name
    orders = Orders(found, ["What is 2 and 2?"], 0)
    for order in map(orders.draw, range(200)):
        if order.valid:
            kind = ChatRequest if order.path == CHAT else SolveRequest
            kind.model_validate_json(order.body)


def test_the_standard_mix_is_the_one_of_the_contract() -> None:
    found = mix.plan("standard")

    share: dict[str, float] = {}
    for work in found.work:
        share[work.strategy["name"]] = share.get(work.strategy["name"], 0) + work.share
    assert pytest.approx({"stepco": 0.5, "best_of_n": 0.3, "single": 0.2}) == share
    assert [256, 1024, 4096, 16384] == [each.max_tokens for each in found.budgets]
    assert (0.6, 0.1, 0.02) == (found.streamed, found.cancelled, found.invalid)
    assert [None, 0.5, 0.8, 1.0, 1.0, 1.5, 3.0] == [stage.load for stage in found.stages]
    assert found.tenants["greedy"].share == 10 * found.tenants["polite"].share


def test_a_mix_is_like_another_but_for_what_it_says(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('like = "standard"\ncancelled = 0.5\n', encoding="utf-8")

    found = mix.plan(str(file), [2.0, 4.0], 7.0, 3)

    assert (0.5, 0.6, 3, "own") == (found.cancelled, found.streamed, found.seed, found.name)
    assert [(2.0, 7.0), (4.0, 7.0)] == [(stage.rate, stage.seconds) for stage in found.stages]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed = ", "is no TOML"),
        ('like = "standard"\ncanceled = 0.5', "canceled: Extra inputs"),
        ('like = "standard"\nstages = [{arrivals = "poisson", load = 2}]', "behind a closed stage"),
    ],
)
def test_a_mix_that_cannot_be_used_says_why(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.toml"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(StartupError, match=says):
        mix.plan(str(file))


def test_a_mix_that_is_not_there_is_said_in_a_sentence() -> None:
    with pytest.raises(StartupError, match="there are budgets, overload, soak, standard"):
        mix.plan("nowhere")


def drawn(found: Plan) -> Orders:
    return Orders(found, ["2 and 2?", "3 and 3?"], 0)


def test_the_same_seed_asks_the_same_whoever_asks_first() -> None:
    one, other = drawn(plan()), drawn(plan())

    forth = [one.draw(number) for number in range(50)]
    back = [other.draw(number) for number in reversed(range(50))]

    assert forth == back[::-1]
    assert forth != [drawn(plan(seed=1)).draw(number) for number in range(50)]


def test_what_is_drawn_has_the_shares_of_the_mix() -> None:
    orders = [drawn(plan(openai=0.3, cancelled=0.1)).draw(number) for number in range(2000)]

    def share(wanted: list[bool]) -> float:
        return sum(wanted) / len(wanted)

    valid = [order for order in orders if order.valid]
    assert pytest.approx(1 / 11, abs=0.03) == share([o.tenant == "one" for o in orders])
    assert pytest.approx(0.1, abs=0.03) == share([o.leaves is not None for o in orders])
    assert pytest.approx(0.02, abs=0.015) == share([not o.valid for o in orders])
    assert pytest.approx(0.3, abs=0.04) == share([o.path == CHAT for o in valid])
    assert pytest.approx(0.6, abs=0.04) == share([o.streamed for o in valid])
    assert {SOLVE} == {order.path for order in orders if not order.valid}
    assert all(0.2 <= order.leaves <= 3 for order in orders if order.leaves is not None)


def test_a_tenant_may_have_a_budget_of_its_own() -> None:
    tenants = {"one": {"share": 1}, "many": {"share": 1, "max_tokens": 9999}}
    orders = [drawn(plan(tenants=tenants)).draw(number) for number in range(50)]

    assert {9999} == {order.budget for order in orders if order.tenant == "many"}
    assert {32, 512} == {order.budget for order in orders if order.tenant == "one"}


@settings(max_examples=50)
@given(
    arrivals=st.sampled_from(["poisson", "bursty"]),
    rate=st.floats(0.5, 200),
    seconds=st.floats(0.1, 20),
    seed=st.text(max_size=5),
)
def test_moments_rise_within_their_stage_and_are_those_of_their_seed(
    arrivals: str, rate: float, seconds: float, seed: str
) -> None:
    found = list(moments(arrivals, rate, seconds, seed))

    assert sorted(found) == found == list(moments(arrivals, rate, seconds, seed))
    assert all(0 <= moment < seconds for moment in found)


@pytest.mark.parametrize(("arrivals", "variation"), [("poisson", 1.0), ("bursty", 2.0)])
def test_arrivals_have_their_rate_and_bursts_vary_twice_as_much(
    arrivals: str, variation: float
) -> None:
    found = list(moments(arrivals, 50, 400, "0"))
    gaps = [b - a for a, b in pairwise(found)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5

    assert pytest.approx(50 * 400, rel=0.05) == len(found)
    assert pytest.approx(variation, rel=0.1) == spread / mean
