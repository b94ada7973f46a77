"""The benches of faults in short: whatever is killed, nothing hangs, nothing lies, all is settled.

`python -m bench.hangups`, `bench.drains` and `bench.deaths` do the same often enough to count.
"""

from __future__ import annotations

import asyncio

from bench import deaths, drains, hangups


def test_a_service_that_is_told_to_end_under_load_cuts_nothing_off() -> None:
    found = drains.measure(1)

    assert found["exit_codes"] == {0: 1}
    assert found["truncated"] == 0
    assert found["outcomes"]["shutting_down"] > 0


def test_a_part_that_is_killed_in_mid_solve_is_an_error_or_said_and_back_again_it_is_used() -> None:
    for part, found in deaths.measure(2).items():
        assert found["deaths"] == 2, part
        assert (found["hung"], found["silently_wrong"]) == (0, 0), part


def test_a_client_that_is_killed_leaves_llama_cpp_idle_and_nothing_reserved() -> None:
    """Within a second, on two cores with nothing else to do; here it is said that it ends."""
    found = asyncio.run(hangups.measure(3))

    assert (found["hung"], found["tokens_reserved_yet"]) == (0, 0)
    claimed, counted = found["tokens_in_ledgers"], found["tokens_of_the_engine"]
    assert claimed <= counted <= claimed + 3 * 4 * 2, "two for each sample at the most"
