"""StepCo's own numbers (arXiv 2410.12934, results table), to stand beside ours: of other models.

The tables say nothing of seeds or intervals, nor of how tokens were counted.
"""

from __future__ import annotations

from collections.abc import Mapping

SETS = ("SVAMP", "AddSub", "GSM8K", "AQuA", "MATH500", "ASDiv", "GSM-IC2", "GSM-ICM")
SOURCE = "arXiv 2410.12934, results table of the project's page; accuracy in %, no intervals given"
SAVING = 0.778  # of Best-of-10's tokens, says the abstract
FLIPS = 0.053  # of GSM8K, right answers made wrong
HOPELESS = 0.212  # of Best-of-10's errors, those without a right sample

_ROWS = {
    ("GPT-4o", "Zero-shot CoT"): (90.4, 89.6, 94.6, 72.8, 74.0, 92.4, 91.3, 88.8),
    ("GPT-4o", "Self-consistency (10)"): (94.3, 96.5, 94.5, 78.4, 76.8, 97.5, 97.3, 95.5),
    ("GPT-4o", "Best-of-10"): (93.9, 95.4, 94.5, 81.1, 77.0, 98.4, 97.1, 96.1),
    ("GPT-4o", "StepCo"): (96.0, 97.7, 96.4, 84.7, 80.4, 98.4, 99.6, 99.3),
    ("GPT-3.5-Turbo-1106", "Zero-shot CoT"): (76.7, 85.2, 78.6, 51.3, 37.9, 84.3, 87.0, 82.0),
    ("GPT-3.5-Turbo-1106", "Self-consistency (10)"): (
        85.8, 92.2, 84.6, 65.0, 39.5, 92.5, 89.7, 88.9,
    ),
    ("GPT-3.5-Turbo-1106", "Best-of-10"): (85.5, 91.3, 85.3, 66.1, 42.1, 93.3, 88.9, 88.5),
    ("GPT-3.5-Turbo-1106", "StepCo"): (89.7, 93.4, 87.0, 72.4, 56.9, 98.4, 90.7, 89.0),
}  # fmt: skip

TABLE: Mapping[tuple[str, str], Mapping[str, float]] = {
    row: dict(zip(SETS, numbers, strict=True)) for row, numbers in _ROWS.items()
}
"""By model and method."""
