"""Records of solves, made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.solves import Solve

NOTHING = {"prompt": 0, "cached": 0, "completion": 0, "calls": 0}


def path(
    answer: str | None,
    *steps: str,
    value: float | None = 0.5,
    round: int = 0,
    sample: int = 0,
    kept: int = 0,
    tokens: int = 10,
) -> dict[str, Any]:
    score = None if value is None else {"correct": value, "value": value}
    return {
        "sample": sample,
        "round": round,
        "kept": kept,
        "first_weak": None,
        "steps": [{"text": text, "round": round, "score": score} for text in steps or ("So.",)],
        "answer": answer,
        "policy": NOTHING | {"prompt": 20, "completion": tokens, "calls": 1},
        "verifier": {"tokens": 5, "calls": 1},
    }


def solve(
    arm: str,
    question: int,
    paths: Sequence[dict[str, Any]],
    chosen: int = -1,
    *,
    gold: str = "7",
    dataset: str = "sums",
    seed: int = 0,
    verified: bool = False,
    end: str = "sampled",
) -> Solve:
    """Of the paths given, the chosen one is the answer; one is right if it says what gold says."""
    generated = sum(p["policy"]["completion"] for p in paths)
    policy = {"prompt": 20, "cached": 0, "completion": generated, "calls": 1}
    verifier = {"tokens": 5 * len(paths), "calls": len(paths)}
    total = 20 + generated + 5 * len(paths)
    answer = paths[chosen]["answer"]
    return Solve.model_validate(
        {
            "arm": arm,
            "dataset": dataset,
            "question_id": str(question),
            "seed": seed,
            "question": "3 + 4?",
            "gold": gold,
            "asked": {"strategy": {"name": arm}, "sampling": {}, "budget": {}},
            "right": answer == gold,
            "paths_right": [p["answer"] == gold for p in paths],
            "solution": {
                "id": "solve",
                "answer": answer,
                "verified": verified,
                "score": None,
                "stop_reason": end,
                "usage": {"policy": policy, "verifier": verifier, "wasted": 0, "total": total},
                "warnings": [],
                "model": "scripted",
                "verifier": "arithmetic",
                "elapsed_ms": 10,
                "trace": {
                    "paths": list(paths),
                    "calls": [{"kind": "policy", "policy": policy}],
                    "chosen": chosen % len(paths),
                },
            },
            "error": None,
        }
    )


def failed(arm: str, question: int) -> Solve:
    """One that the server gave no answer to."""
    fine = solve(arm, question, [path("7")])
    return fine.model_copy(
        update={"right": False, "paths_right": (), "solution": None, "error": "Gone."}
    )
