"""The trained verifier: a LoRA adapter over a small model, and what its odds mean.

A folder holds it: `adapter.gguf` for llama.cpp, `adapter_model.safetensors` and its config for
PEFT and vLLM, `verifier.json` with the base and how its odds are to be taken, and a model card.
What it reads is in `steps`, how it is read in `readout`; how it is made, in `training`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from verifier.calibration import Calibration
from verifier.readout import MARKED, Reader, Readout
from verifier.scoring import Aggregate, Score

SHIPPED = Path(__file__).with_name("weights") / "psv-qwen2.5-coder-0.5b"


class AdapterError(Exception):
    """An adapter's folder cannot be used; the message is one sentence."""


class Card(BaseModel, frozen=True):
    """What `verifier.json` says: of which file, over which model, how its odds are to be taken."""

    base: str
    threshold: Score
    aggregate: Aggregate = "last"
    calibration: Calibration
    sha256: str


@dataclass(frozen=True, slots=True)
class Adapter:
    """`base` is the name of its model in the catalogue; the rest was chosen on dev questions."""

    folder: Path
    base: str
    threshold: Score
    calibration: Calibration
    aggregate: Aggregate = "last"

    @classmethod
    def load(cls, folder: Path = SHIPPED) -> Adapter:
        """Raises `AdapterError`, also if the weights are not those that the card speaks of."""
        try:
            card = Card.model_validate_json((folder / "verifier.json").read_bytes())
            adapter = cls(folder, card.base, card.threshold, card.calibration, card.aggregate)
            digest = adapter.digest()
        except (OSError, ValidationError) as error:
            raise AdapterError(
                f"{folder} holds no verifier that can be used; "
                "name psv, judge or a folder that `surefoot verifier export` wrote."
            ) from error
        if digest != card.sha256:
            raise AdapterError(f"{adapter.gguf} is not what its verifier.json is about; export it.")
        return adapter

    def save(self) -> None:
        """Write the card of the weights that lie in the folder."""
        card = Card(
            base=self.base,
            threshold=self.threshold,
            aggregate=self.aggregate,
            calibration=self.calibration,
            sha256=self.digest(),
        )
        (self.folder / "verifier.json").write_text(
            f"{card.model_dump_json(indent=2)}\n", encoding="utf-8"
        )

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def gguf(self) -> Path:
        return self.folder / "adapter.gguf"

    def digest(self) -> str:
        with self.gguf.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def readout(self, reader: Reader) -> Readout:
        """The verifier, read off an engine that has the adapter on."""
        terms = self.calibration, self.threshold, self.aggregate
        return Readout(reader, MARKED, "psv", *terms)
