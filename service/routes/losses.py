"""The header of an answer that is less than was asked for, as a part of the service was lost.

A stream's headers have gone by then: there the last event says it, as the answer's warnings do.
"""

from service.solution import StopReason

WARNING = "x-surefoot-warning"
LOST: tuple[StopReason, ...] = ("engine_lost", "verifier_lost")


def warning(reason: StopReason) -> dict[str, str]:
    return {WARNING: reason} if reason in LOST else {}
