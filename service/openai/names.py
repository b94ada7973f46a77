"""Model names: each stands for a strategy, behind our own name or behind the policy's."""

from typing import Literal

from service.errors import ModelNotFound
from service.strategies import STRATEGIES
from service.wire import Reply

SLUGS = {name.replace("_", "-"): name for name in STRATEGIES}


class Model(Reply):
    id: str
    object: Literal["model"]
    created: int
    """When the service was started; seconds since 1970."""
    owned_by: str


class ModelList(Reply):
    object: Literal["list"]
    data: list[Model]


def strategy(model: object) -> str | None:
    """The strategy that a model's name asks for, whatever policy stands before it."""
    if not isinstance(model, str):
        return None
    policy, colon, slug = model.rpartition(":")
    own = model.removeprefix("surefoot-")
    return SLUGS.get(slug) if colon and policy else SLUGS.get(own) if own != model else None


def served(policy: str) -> list[str]:
    """Every name that is answered to: `surefoot-stepco`, …, `<policy>:stepco`, …"""
    return [f"{owner}{slug}" for owner in ("surefoot-", f"{policy}:") for slug in SLUGS]


def demand(model: str, policy: str) -> None:
    """Return if that model is served; raise `ModelNotFound` if not."""
    if model not in served(policy):
        raise ModelNotFound("There is no such model; GET /v1/models lists what there is.", "model")


def shown(model: str, since: int) -> Model:
    return Model(id=model, object="model", created=since, owned_by="surefoot")
