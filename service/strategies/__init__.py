"""Ways to spend tokens on one question, by name."""

from typing import get_args

from service.strategies.adaptive import Adaptive
from service.strategies.beam_search import BeamSearch
from service.strategies.best_of_n import BestOfN
from service.strategies.dvts import DVTS
from service.strategies.particle_filter import ParticleFilter
from service.strategies.self_consistency import SelfConsistency
from service.strategies.single import Single
from service.strategies.stepco import StepCo

__all__ = [
    "DVTS",
    "STRATEGIES",
    "Adaptive",
    "AnyStrategy",
    "BeamSearch",
    "BestOfN",
    "ParticleFilter",
    "SelfConsistency",
    "Single",
    "StepCo",
]

AnyStrategy = (
    StepCo | Adaptive | BestOfN | SelfConsistency | BeamSearch | DVTS | ParticleFilter | Single
)

STRATEGIES: dict[str, type[AnyStrategy]] = {kind.name: kind for kind in get_args(AnyStrategy)}
