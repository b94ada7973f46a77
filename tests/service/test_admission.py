"""Who may solve now: the queue's bounds, its fairness, what refusals say, what is given back."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.admission import Admission, Place
from service.errors import Overloaded, ShuttingDown
from service.tenants import Tenant


def tenant(name: str = "default", weight: float = 1.0) -> Tenant:
    return Tenant(name, weight, None, None)


def enter(
    admission: Admission, name: str = "default", tokens: int = 100, weight: float = 1.0
) -> Place:
    return admission.enter(tenant(name, weight), "single", tokens, math.inf)


def test_so_many_run_at_once_and_the_next_begins_when_one_leaves() -> None:
    admission = Admission(2, 10_000)
    places = [enter(admission) for _ in range(4)]

    assert [place.began is not None for place in places] == [True, True, False, False]
    admission.leave(places[0], 100)
    assert [place.began is not None for place in places] == [True, True, True, False]
    assert (admission.running, admission.waiting, admission.queued_tokens) == (2, 1, 100)


def test_a_tenants_queue_is_bounded_by_tokens_and_anothers_is_its_own() -> None:
    admission = Admission(1, 250)
    for _ in range(3):
        enter(admission, "greedy")

    with pytest.raises(Overloaded):
        enter(admission, "greedy")
    enter(admission, "polite")


def test_one_request_larger_than_the_queue_may_wait_in_it_alone() -> None:
    admission = Admission(1, 250)
    enter(admission)

    enter(admission, tokens=8192)

    with pytest.raises(Overloaded):
        enter(admission, tokens=1)


def test_who_cannot_begin_before_its_deadline_is_refused_and_told_how_long_to_wait() -> None:
    admission = Admission(1, 1_000_000)
    first = enter(admission)
    assert first.began is not None
    first.began -= 10  # it took ten seconds for its hundred tokens
    admission.leave(first, 100)
    for _ in range(4):
        enter(admission)  # one runs, three wait: thirty seconds

    with pytest.raises(Overloaded) as refused:
        admission.enter(tenant(), "single", 100, within=20)

    assert refused.value.retry_after == pytest.approx(30, abs=1)
    admission.enter(tenant(), "single", 100, within=40)


def test_nobody_is_told_to_wait_longer_than_an_sdk_will() -> None:
    admission = Admission(1, 100)
    first = enter(admission)
    assert first.began is not None
    first.began -= 10_000
    admission.leave(first, 100)
    enter(admission)
    enter(admission)

    with pytest.raises(Overloaded) as refused:
        enter(admission)

    assert refused.value.retry_after == 120


def test_a_request_that_is_not_read_yet_is_refused_if_one_of_the_usual_size_would_be() -> None:
    admission = Admission(1, 250)
    admission.leave(enter(admission), 100)
    for _ in range(3):
        admission.demand_room(tenant())
        enter(admission)

    with pytest.raises(Overloaded):
        admission.demand_room(tenant())
    admission.demand_room(tenant("another"))


def test_who_leaves_the_queue_makes_room_in_it() -> None:
    admission = Admission(1, 100)
    runs, waits = enter(admission), enter(admission)

    admission.leave(waits, 0)

    assert (admission.running, admission.waiting, admission.queued_tokens) == (1, 0, 0)
    enter(admission)
    admission.leave(runs, 0)


def test_when_it_closes_those_that_wait_are_sent_away_and_those_that_run_stay() -> None:
    async def main() -> None:
        admission = Admission(1, 1000)
        runs, waits = enter(admission), enter(admission)
        waiting = asyncio.ensure_future(waits.turn())
        await asyncio.sleep(0)
        admission.close()

        with pytest.raises(ShuttingDown):
            await waiting
        with pytest.raises(ShuttingDown):
            admission.demand_room(tenant())
        await runs.turn()
        admission.leave(waits, 0)
        assert admission.running == 1
        admission.leave(runs, 100)
        await admission.emptied()

    asyncio.run(main())


def served(weights: Mapping[str, float], sizes: Mapping[str, int], seed: int = 0) -> Counter[str]:
    """Tokens served to tenants that always wait, of solves whose size is known when they end."""
    rng, admission, tokens = random.Random(seed), Admission(8, 10**9), Counter[str]()
    names = {enter(admission, n, 8192, w): n for n, w in weights.items() for _ in range(20)}
    for _ in range(3000):
        place = rng.choice([place for place in names if place.began is not None])
        name = names.pop(place)
        spent = rng.randint(1, 2 * sizes[name])
        tokens[name] += spent
        admission.leave(place, spent)
        names[enter(admission, name, 8192, weights[name])] = name
    return tokens


def jain(shares: list[float]) -> float:
    """Jain's index: 1 when all have the same, 1 / n when one has all."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


@pytest.mark.parametrize(
    "sizes", [{"a": 300, "b": 300, "c": 300}, {"a": 50, "b": 300, "c": 2000}], ids=str
)
def test_tenants_that_always_wait_are_served_in_proportion_to_their_weights(
    sizes: dict[str, int],
) -> None:
    weights = {"a": 1.0, "b": 1.0, "c": 2.0}

    tokens = served(weights, sizes)

    shares = [tokens[name] / weights[name] for name in weights]
    assert max(shares) / min(shares) < 1.1
    assert jain(shares) > 0.99


def test_a_tenant_that_was_idle_saves_nothing_up_and_owes_nothing() -> None:
    admission = Admission(1, 10**9)
    for _ in range(50):
        admission.leave(enter(admission, "busy"), 1000)
    first = enter(admission, "busy")
    waiting = [enter(admission, name, 1000) for _ in range(3) for name in ("busy", "idle")]

    began = []
    admission.leave(first, 1000)
    while any(place.began for place in waiting):
        (place,) = (place for place in waiting if place.began)
        began.append(waiting.index(place) % 2)
        waiting[waiting.index(place)] = Place(place.line, "", 0, 0)
        admission.leave(place, 1000)

    assert sorted(began[:2]) == sorted(began[2:4]) == [0, 1]


def test_a_tenant_that_nobody_else_is_beside_has_all_places() -> None:
    admission = Admission(16, 10**9)
    for _ in range(20):
        enter(admission)

    assert (admission.running, admission.waiting) == (16, 4)


def test_who_has_more_than_its_share_leaves_places_for_who_has_less() -> None:
    """A polite tenant waited for the first of sixteen solves of a greedy one to end, and all of
    those were equally long: its 99th percentile was 1.84 times that which it had alone.
    """
    admission = Admission(16, 10**9)
    admission.leave(enter(admission, "polite"), 100)
    greedy = [enter(admission, "greedy") for _ in range(20)]
    assert admission.running == 14

    polite = [enter(admission, "polite") for _ in range(3)]

    assert [place.began is not None for place in polite] == [True, True, False]
    admission.leave(greedy[0], 100)
    assert polite[2].began is not None
    admission.leave(greedy[1], 100)
    assert (admission.running, greedy[14].began) == (15, None), "the next is for a polite one, too"


def test_who_has_not_come_for_a_minute_is_not_waited_for() -> None:
    admission = Admission(16, 10**9)
    once = enter(admission, "polite")
    admission.leave(once, 100)
    once.line.seen -= 61

    for _ in range(20):
        enter(admission, "greedy")

    assert admission.running == 16


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9000), st.booleans())))
def test_whoever_comes_and_goes_what_is_held_adds_up_to_nothing_in_the_end(
    visits: list[tuple[str, int, bool]],
) -> None:
    admission, places = Admission(3, 20_000), list[Place]()
    for name, tokens, leaves in visits:
        try:
            places.append(enter(admission, name, tokens))
        except Overloaded:
            assert admission.running == 3
        if leaves and places:
            admission.leave(places.pop(tokens % len(places)), tokens)
        assert admission.running == sum(place.began is not None for place in places) <= 3
        assert not admission.waiting or admission.running == 3
    for place in places:
        admission.leave(place, 1)

    assert (admission.running, admission.waiting, admission.queued_tokens) == (0, 0, 0)
    asyncio.run(asyncio.wait_for(admission.emptied(), 1))


def test_a_refusal_costs_microseconds_however_long_the_queue_is() -> None:
    admission = Admission(1, 10**6)
    for _ in range(10_000):
        enter(admission)

    began = time.perf_counter()
    for _ in range(1000):
        with pytest.raises(Overloaded):
            enter(admission, tokens=8192)

    assert (time.perf_counter() - began) / 1000 < 0.001
