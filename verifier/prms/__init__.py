"""Process-reward models that others have trained, one file each, by their names in settings."""

from verifier.prms import math_shepherd, qwen_math, rlhflow, skywork
from verifier.prms.prm import Prm

PRMS: dict[str, Prm] = {
    "qwen2.5-math-prm": qwen_math.PRM,
    "skywork-o1-prm": skywork.PRM,
    "math-shepherd": math_shepherd.PRM,
    "rlhflow": rlhflow.PRM,
}
