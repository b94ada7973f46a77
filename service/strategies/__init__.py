"""Ways to spend tokens on one question, by name."""

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
    Single | SelfConsistency | BestOfN | StepCo | Adaptive | BeamSearch | DVTS | ParticleFilter
)

STRATEGIES: dict[str, type[AnyStrategy]] = {
    "stepco": StepCo,
    "adaptive": Adaptive,
    "best_of_n": BestOfN,
    "self_consistency": SelfConsistency,
    "beam_search": BeamSearch,
    "dvts": DVTS,
    "particle_filter": ParticleFilter,
    "single": Single,
}
