"""An arm of a benchmark: a strategy with its knobs, its sampling and its budget, as a line of text.

`best_of_n:n=5` is a strategy and its knobs; `paper=stepco:revise=rewrite,select=last` gives the arm
a name; `budget.max_tokens=900` and `sampling.temperature=0` go beside the strategy;
`match.generated=paper` bounds each question by what the arm `paper` spent on it. Whether there is
such a strategy and such a knob is the server's to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from service.errors import StartupError

Spending = Literal["generated", "computed"]

BOUND: Mapping[Spending, str] = {"generated": "max_tokens", "computed": "max_compute_tokens"}
ROOM = {"max_tokens": 32_768, "deadline_ms": 600_000}  # no arm is to end by a bound it did not ask


@dataclass(frozen=True, slots=True)
class Match:
    """On each question and seed as many tokens may be spent as `arm` spent: of what it generated,
    or of all that was computed for it.
    """

    arm: str
    of: Spending


@dataclass(frozen=True, slots=True)
class Arm:
    name: str
    strategy: Mapping[str, Any]
    sampling: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, Any] = field(default_factory=lambda: ROOM)
    match: Match | None = None

    @classmethod
    def parse(cls, text: str) -> Arm:
        """Raises `StartupError` if it cannot be read."""
        head, _, tail = text.partition(":")
        name, named, strategy = head.rpartition("=")
        groups: dict[str, dict[str, Any]] = {"strategy": {}, "sampling": {}, "budget": {}}
        groups["match"] = {}
        for knob in filter(None, tail.split(",")):
            key, equals, value = knob.partition("=")
            group, _, own = key.rpartition(".")
            if not equals or not own or (group or "strategy") not in groups:
                raise _unread(text, f"{knob!r} is no knob=value, budget., sampling. or match.")
            groups[group or "strategy"][own] = _value(value)
        return cls(
            name if named else text,
            {"name": strategy, **groups["strategy"]},
            groups["sampling"],
            ROOM | groups["budget"],
            _match(text, groups["match"]),
        )

    def asked(self, seed: int) -> dict[str, dict[str, Any]]:
        """The request, but for the question."""
        sampling = {**self.sampling, "seed": seed}
        return {"strategy": {**self.strategy}, "sampling": sampling, "budget": {**self.budget}}

    @property
    def seconds(self) -> float:
        """How long a solve may take: what is asked for, or the usual where that is no number."""
        asked = self.budget["deadline_ms"]
        return (asked if isinstance(asked, int) else ROOM["deadline_ms"]) / 1000

    def bounded(self, spent: int) -> Arm:
        """The same with what another arm spent as its budget."""
        assert self.match
        return replace(self, budget={**self.budget, BOUND[self.match.of]: max(1, spent)})


def parsed(texts: Sequence[str], sampling: Mapping[str, Any]) -> list[Arm]:
    """The arms, with the sampling that all share; raises `StartupError` if they do not fit."""
    arms = [Arm.parse(text) for text in texts]
    for place, arm in enumerate(arms):
        before = {other.name for other in arms[:place]}
        if arm.name in before:
            raise StartupError(f"Two arms are called {arm.name}; name one: NAME={arm.name}.")
        if arm.match and arm.match.arm not in before:
            known = ", ".join(before) or "none"
            raise StartupError(
                f"{arm.name} is to match {arm.match.arm}, which is no arm before it ({known})."
            )
    return [replace(arm, sampling={**sampling, **arm.sampling}) for arm in arms]


def _match(text: str, wanted: Mapping[str, Any]) -> Match | None:
    if not wanted:
        return None
    (of, arm), *more = wanted.items()
    if more or of not in get_args(Spending):
        raise _unread(text, "one of match.generated=ARM and match.computed=ARM can be asked")
    return Match(str(arm), "generated" if of == "generated" else "computed")


def _value(text: str) -> Any:  # noqa: ANN401 - a knob may be of any kind
    try:
        return json.loads(text)
    except ValueError:
        return text


def _unread(text: str, why: str) -> StartupError:
    return StartupError(f"The arm {text!r} cannot be read: {why}.")
