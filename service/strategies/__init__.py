"""Ways to spend tokens on one question, by name."""

from service.strategies.adaptive import Adaptive
from service.strategies.best_of_n import BestOfN
from service.strategies.self_consistency import SelfConsistency
from service.strategies.single import Single
from service.strategies.stepco import StepCo

__all__ = [
    "STRATEGIES",
    "Adaptive",
    "AnyStrategy",
    "BestOfN",
    "SelfConsistency",
    "Single",
    "StepCo",
]

AnyStrategy = Single | SelfConsistency | BestOfN | StepCo | Adaptive

STRATEGIES: dict[str, type[AnyStrategy]] = {
    "stepco": StepCo,
    "adaptive": Adaptive,
    "best_of_n": BestOfN,
    "self_consistency": SelfConsistency,
    "single": Single,
}
