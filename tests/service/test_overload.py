"""The bench of overload in short: refused fast, answered in time, shared fairly."""

from __future__ import annotations

import asyncio

from bench import overload


def test_what_is_too_much_is_refused_at_once_and_what_is_answered_comes_in_time() -> None:
    """The figures are those of a busy machine; `python -m bench.overload` has better ones."""
    found = asyncio.run(overload.flooded(5))

    assert set(found["outcomes"]) == {200, 429}
    assert found["outcomes"][429] > found["outcomes"][200] > 0
    assert found["refused_p99_ms"] < 500
    assert found["answered_p99_ratio"] < 3


def test_a_greedy_tenant_delays_itself() -> None:
    found = asyncio.run(overload.outnumbered(6))

    assert set(found["polite"]) == {200}
    assert found["greedy"][429] > found["greedy"][200]
    assert found["polite_p99_ratio"] < 3


def test_tenants_that_always_ask_are_served_by_their_weights() -> None:
    found = asyncio.run(overload.shared(8))

    assert 0.8 <= found["least_to_most"] <= 1
    assert found["jain"] >= 0.95
