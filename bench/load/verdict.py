"""What a check says: passed, failed, or not checked; and what that rests on."""

from __future__ import annotations

from dataclasses import dataclass

Said = tuple[bool | None, str]
"""Whether it passed, None where it was not checked; and the evidence, or why there is none."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`passed` is None where it was not checked; `says` has the evidence, or why not."""

    name: str
    claim: str
    passed: bool | None
    says: str
