"""A verifier that is a process-reward model on vLLM's pooling runner: one pass a path.

All paths of a call go out as one batch, and a path that occurs twice goes once. The scores are read
at the markers that we set, so that there is one for each step, whatever a caller or a policy wrote.
What a model is shown stands in its own file (`prms`); where it runs is a `Pooler`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from verifier.prms.prm import Piece, Prm, Turns
from verifier.scoring import (
    EVEN,
    Aggregate,
    Chain,
    Cost,
    Meter,
    PathTooLong,
    Score,
    Verdict,
    VerifierError,
    unmetered,
)

Rows = Sequence[Sequence[float]]
"""Probabilities, a row for every token, or for every token that is like the markers'."""


class Pooler(Protocol):
    """What a pooling engine offers a verifier.

    All raise `VerifierError`; `pool` raises `PathTooLong` if there is one that is too long.
    """

    @property
    def name(self) -> str: ...

    async def encode(self, texts: Sequence[str | Turns]) -> list[list[int]]:
        """The tokens of each; those of a conversation are its template's, too."""
        ...

    async def pool(self, prompts: Sequence[Sequence[int]]) -> list[Rows]:
        """What the model says of each, in order; one batch."""
        ...

    async def check(self) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Sheet:
    """A path as the model is shown it, and the token at which each step's score is read."""

    tokens: tuple[int, ...]
    places: tuple[int, ...]

    def read(self, rows: Rows) -> list[Sequence[float]]:
        """The steps' rows. Raises `VerifierError` if the rows are not this sheet's."""
        rowed = list(range(len(self.tokens)))
        if len(rows) != len(self.tokens):
            marker = self.tokens[self.places[0]]  # vLLM's STEP pooling
            rowed = [at for at, token in enumerate(self.tokens) if token == marker]
        if len(rows) != len(rowed):
            raise VerifierError(
                f"the verifier gave {len(rows)} rows for {len(self.tokens)} tokens; start it as "
                "docs/verifiers.md says"
            )
        row_of = dict(zip(rowed, rows, strict=True))
        return [row_of[place] for place in self.places]


class Pooling:
    """A `VerifierBackend` of one readout: the model's probability serves as both scores."""

    threshold, heeds = EVEN, False

    def __init__(self, pooler: Pooler, prm: Prm) -> None:
        self.name = f"prm:{pooler.name}"
        self.aggregate: Aggregate = prm.aggregate
        self._pooler = pooler
        self._prm = prm

    async def score(self, chains: Sequence[Chain], meter: Meter = unmetered) -> list[Verdict]:
        sheets = await self._sheets(chains)
        fresh = list(dict.fromkeys(sheet.tokens for sheet in sheets if sheet.places))
        rows_of = dict(zip(fresh, await self._pooled(fresh), strict=True))
        costs = {
            tokens: Cost(len(tokens), 1) for tokens, rows in rows_of.items() if rows is not None
        }
        meter(sum(costs.values(), Cost()))
        return [
            self._verdict(chain, sheet, rows_of, costs.pop(sheet.tokens, Cost()))
            for chain, sheet in zip(chains, sheets, strict=True)
        ]

    async def measure(self, chains: Sequence[Chain]) -> list[int]:
        return [len(sheet.tokens) for sheet in await self._sheets(chains)]

    async def check(self) -> None:
        await self._pooler.check()

    async def close(self) -> None:
        await self._pooler.close()

    async def _pooled(self, prompts: Sequence[Sequence[int]]) -> Sequence[Rows | None]:
        """None for those that are too long; of several, each is then asked about for itself."""
        try:
            pooled = await self._pooler.pool(prompts) if prompts else []
        except PathTooLong:
            if len(prompts) == 1:
                return [None]
            return [rows for each in prompts for rows in await self._pooled([each])]
        if len(pooled) != len(prompts):
            raise VerifierError(f"{self.name} answered for {len(pooled)} of {len(prompts)} paths")
        return pooled

    def _verdict(
        self, chain: Chain, sheet: Sheet, rows_of: dict[tuple[int, ...], Rows | None], cost: Cost
    ) -> Verdict:
        if not sheet.places:
            return Verdict((), cost)
        if (rows := rows_of[sheet.tokens]) is None:
            return Verdict(chain.known, cost, cut=True)
        right = [row[self._prm.good] for row in sheet.read(rows)]
        fresh = tuple(Score(p, p) for p in right[len(chain.known) :])
        return Verdict(chain.known + fresh, cost)

    async def _sheets(self, chains: Sequence[Chain]) -> list[Sheet]:
        pieces = [
            self._prm.pieces(chain.question, chain.steps) if chain.steps else [] for chain in chains
        ]
        texts: dict[str | Turns, None] = {}
        for piece in (piece for each in pieces for piece in each):
            texts |= {piece.text: None, piece.marker: None}
        texts.pop("", None)
        encoded = await self._pooler.encode(list(texts))
        tokens = dict(zip(texts, encoded, strict=True))
        return [
            _sheet(each, tokens, len(chain.steps))
            for each, chain in zip(pieces, chains, strict=True)
        ]


def _sheet(pieces: Sequence[Piece], tokens: dict[str | Turns, list[int]], steps: int) -> Sheet:
    path: list[int] = []
    places: list[int] = []
    for piece in pieces:
        own = tokens.get(piece.text, [])
        if piece.marker:
            ends = _ends(own, tokens[piece.marker])
            places += [len(path) + end for end in ends]
        path += own
    if len(places) != steps:
        raise VerifierError(
            f"the verifier's tokeniser found {len(places)} markers behind {steps} steps; "
            "SUREFOOT_VERIFIER must name the model that is served"
        )
    return Sheet(tuple(path), tuple(places))


def _ends(tokens: list[int], marker: list[int]) -> list[int]:
    """Where the marker's last token stands, each time that it occurs."""
    size = len(marker)
    return [at + size - 1 for at in range(len(tokens)) if tokens[at : at + size] == marker]
