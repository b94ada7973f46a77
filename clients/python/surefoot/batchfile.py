"""The two files of a batch, as OpenAI has them: requests in, results out, a JSON object a line.

They are read a line at a time; only the `custom_id`s are held. Asking is `batchrun`'s.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from surefoot import protocol
from surefoot.errors import BadRequest, ServerError
from surefoot.types import Failure, Reply

URLS = ("/v1/chat/completions", "/v1/responses")
BEGINNING = b'{"id": "batch_req_'


@dataclass(frozen=True, slots=True)
class Entry:
    """A request: the number of its line, and its body as it is sent."""

    line: int
    custom_id: str
    url: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Result:
    """`response` is what the server said, be it a refusal; without one, `error` says why."""

    id: str
    custom_id: str
    response: Reply | None
    error: Failure | None

    @property
    def failed(self) -> bool:
        return self.response is None or self.response.status_code >= 400

    def written(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Standing:
    """What need not be asked again: by whose `custom_id`, and how many of them failed."""

    answered: frozenset[str]
    failed: int


def entries(file: Path) -> Iterator[Entry]:
    """The requests; raises BadRequest with the line of the first that cannot be sent."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    entry = _entry(number, json.loads(line))
                except (ValueError, RecursionError) as error:
                    raise BadRequest(f"line {number} of {file} is not JSON") from error
                except BadRequest as error:
                    raise BadRequest(f"line {number} of {file}: {error.message}") from error
                yield entry


def custom_ids(file: Path) -> Collection[str]:
    """Those of all requests, each of which is looked at; raises BadRequest like `entries`."""
    lines: dict[str, int] = {}
    for entry in entries(file):
        first = lines.setdefault(entry.custom_id, entry.line)
        if first != entry.line:
            here = f"line {entry.line} of {file}"
            raise BadRequest(f"{here}: its custom_id is that of line {first}; each needs its own")
    if not lines:
        raise BadRequest(f"{file} holds no request")
    return lines.keys()


def resumed(file: Path, asked: Collection[str]) -> Standing:
    """What stands in the output of an earlier run; the rest of it is taken out of the file.

    That is a line cut off in mid-write, and results with an `error`. Raises BadRequest, and leaves
    the file as it is, where it holds anything but results of requests that are `asked`.
    """
    if not file.exists():
        return Standing(frozenset(), 0)
    if not file.is_file():
        raise BadRequest(f"{file} is no file to write results to")
    answered, failed, size = set(), 0, 0
    for line, result in _standing(file, asked):
        answered.add(result.custom_id)
        failed += result.failed
        size += len(line)
    if size < file.stat().st_size:
        target = file.resolve()
        part = target.with_name(f"{target.name}.part")
        with part.open("wb") as copy:
            copy.writelines(line for line, _ in _standing(file, asked))
        part.replace(target)
    return Standing(frozenset(answered), failed)


def _entry(number: int, said: object) -> Entry:
    if not isinstance(said, dict):
        raise BadRequest("it must be a JSON object")
    if wrong := _wrong(said):
        raise BadRequest(wrong)
    try:
        body = json.dumps(said["body"], allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:
        raise BadRequest("its body has a number or a text that JSON cannot hold") from error
    return Entry(number, said["custom_id"], said["url"], body)


def _wrong(said: Mapping[str, object]) -> str | None:
    id, body = said.get("custom_id"), said.get("body")
    if not isinstance(id, str) or not id:
        return "its custom_id must be a text"
    if said.get("method") != "POST":
        return "its method must be POST"
    if said.get("url") not in URLS:
        return f"its url must be {' or '.join(URLS)}"
    if not isinstance(body, dict):
        return "its body must be a JSON object"
    if body.get("stream") not in (None, False):
        return "its body asks for a stream, which a batch has no place for; leave `stream` out"
    return None


def _standing(file: Path, asked: Collection[str]) -> Iterator[tuple[bytes, Result]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n") and line.startswith(BEGINNING[: len(line)]):
                return
            try:
                result = protocol.read(Result, line)
            except ServerError:
                result = None
            if result is None or result.custom_id not in asked or not line.endswith(b"\n"):
                here = f"line {number} of {file}"
                raise BadRequest(f"{here} is no result of these requests; name another output")
            if result.error is None:
                yield line, result
