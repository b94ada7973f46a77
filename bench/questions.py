"""Sets of questions: by name from a folder of JSON lines, as a file, or from the hub.

A name is looked for without case and signs, so MATH500 finds `MATH-500.dev.jsonl.gz`; of several
splits the dev half is taken, and a training split only by its own name (`GSM8K.train`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import AliasChoices, BaseModel, Field

from service.errors import StartupError
from verifier.training.data import fraction, read

PAPER = ("SVAMP", "AddSub", "GSM8K", "AQuA", "MATH500", "ASDiv", "GSM-IC2", "GSM-ICM")
SPLITS = ("dev", "test", "")  # which split a bare name means, best first
HUB = "hf://datasets/"
ENDING = re.compile(r"\.jsonl(?:\.gz)?\Z")


class Item(BaseModel, frozen=True, extra="ignore"):
    """One question. `answer` is the letter of an option where there are `choices`."""

    question: str = Field(validation_alias=AliasChoices("question", "problem"))
    answer: str
    id: str = Field(default="", validation_alias=AliasChoices("id", "unique_id"))
    dataset: str = ""
    choices: tuple[str, ...] | None = None

    @property
    def asked(self) -> str:
        """What the server is given."""
        if not self.choices:
            return self.question
        options = "\n".join(f"({letter}) {text}" for letter, text in self.options.items())
        return f"{self.question}\nOptions:\n{options}\nThe answer is the letter of one option."

    @property
    def options(self) -> dict[str, str]:
        return {chr(ord("A") + place): text for place, text in enumerate(self.choices or ())}


def load(name: str, folder: Path | None, most: int | None) -> list[Item]:
    """The first `most` of a set's questions in a random order that is always the same.

    Raises `StartupError` if there is no such set, and `DataError` if it cannot be read.
    """
    title, file = _found(name, folder)
    rows = (row if row.id else row.model_copy(update={"id": row.question}) for row in _rows(file))
    items = [row.model_copy(update={"dataset": title}) for row in rows]
    if not items:
        raise StartupError(f"{file} holds no question.")
    return sorted(items, key=lambda item: fraction(item.id))[:most]


def _rows(file: Path) -> Iterable[Item]:
    return read(file, Item)


def _found(name: str, folder: Path | None) -> tuple[str, Path]:
    """What the set is called in a report, and its file."""
    if name.startswith(HUB):
        return _title(Path(name).parent.name), _fetched(name)
    file = Path(name)
    if ENDING.search(name):
        return _title(file.name), file
    files = sorted(folder.iterdir()) if folder else []
    matching = [file for split in SPLITS for file in files if _is(file, name, split)]
    if not matching:
        where = f"in {folder}" if folder else "without --data FOLDER"
        raise StartupError(
            f"There is no set of questions called {name} {where}; a file of JSON lines, or "
            f"{HUB}OWNER/NAME/FILE.jsonl, can be named in its place."
        )
    return _title(name), matching[0]


def _is(file: Path, name: str, split: str) -> bool:
    stem, ended = ENDING.subn("", file.name)
    return bool(ended) and _plain(stem) in (_plain(f"{name}{split}"), _plain(name))


def _title(name: str) -> str:
    """As the paper has it, if it does."""
    own = ENDING.sub("", name)
    return next((known for known in PAPER if _plain(known) == _plain(own)), own)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _fetched(name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    parts = name.removeprefix(HUB).split("/", 2)
    if len(parts) < 3 or not ENDING.search(name):
        raise StartupError(f"{name} is not {HUB}OWNER/NAME/FILE.jsonl.")
    owner, repo, file = parts
    try:
        return Path(hf_hub_download(f"{owner}/{repo}", file, repo_type="dataset"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise StartupError(f"{name} cannot be had from the hub: {error}") from error


def interleaved(sets: Sequence[Sequence[Item]]) -> list[Item]:
    """One of each set in turn, so that a run that is ended early has something of all."""
    longest = max(map(len, sets), default=0)
    return [items[place] for place in range(longest) for items in sets if place < len(items)]
