"""What each slot of the server has in its cache, so that a call goes where most of it lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

SLOTS = 16
ANY = -1  # a slot of the server's choice


@dataclass(frozen=True, slots=True)
class Held:
    """The tokens in a slot's cache, the scale of the adapter they were computed with, and whose
    they are; that is None where it is not known.
    """

    tokens: list[int] = field(default_factory=list)
    scale: float = 0.0
    salt: str | None = None

    def shared(self, other: Held) -> int:
        """How many tokens they begin with alike; the server drops what another scale computed."""
        if (self.scale, self.salt) != (other.scale, other.salt):
            return 0
        pairs = enumerate(zip(self.tokens, other.tokens, strict=False))
        fewer = min(len(self.tokens), len(other.tokens))
        return next((at for at, (one, its) in pairs if one != its), fewer)


@dataclass(frozen=True, slots=True)
class Place:
    """A slot, and whether what lies in it may be used: not what is, or may be, another tenant's."""

    slot: int
    own: bool

    @property
    def asked(self) -> dict[str, Any]:
        return {"id_slot": self.slot, "cache_prompt": self.own}


class Slots:
    """Which slots are free, and what is in each.

    The server's own choice looks at how alike prompts are as a whole, and so loses the kept prefix
    of a long path whose first steps alone are kept. Nor does it know of tenants, of whom none is to
    learn from what is cached what another has asked (CVE-2025-46570).
    """

    def __init__(self) -> None:
        self._tenant: str | None = None
        self._several = False  # tenants have been here
        self._cached = {slot: Held() for slot in range(SLOTS)}
        self._busy: set[int] = set()
        self._loose = 0  # calls in slots of the server's choice

    @contextmanager
    def taken(self, wanted: Held, samples: int = 1) -> Iterator[Place]:
        """The free slot with most of the tokens; the longest unused one where none has half.

        -1, the server's own choice, for several samples, which it spreads over slots, and while
        such a choice is not known: a call that is sent to a slot in use waits for it.
        """
        self._tenant = self._tenant or wanted.salt
        self._several |= self._tenant != wanted.salt
        free = [slot for slot in self._cached if slot not in self._busy]
        if samples > 1 or self._loose or not free:
            self._loose += 1
            try:
                yield Place(ANY, own=not self._several)
            except BaseException:
                self.hold(ANY, Held())
                raise
            finally:
                self._loose -= 1
            return
        slot = max(free, key=lambda slot: wanted.shared(self._cached[slot]))
        if 2 * wanted.shared(self._cached[slot]) < len(wanted.tokens):
            slot = free[0]
        own = not self._several or self._cached[slot].salt == wanted.salt
        self._busy.add(slot)
        self.hold(slot, wanted)
        try:
            yield Place(slot, own)
        finally:
            self._busy.discard(slot)

    def hold(self, slot: int, held: Held) -> None:
        """Where it is not known which slot that was, no free one is known any more."""
        if self._cached.pop(slot, None) is not None:
            self._cached[slot] = held  # behind all others: the one used last
        else:
            self._cached |= {each: Held() for each in self._cached if each not in self._busy}
