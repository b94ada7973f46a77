"""The log: JSON lines where nobody watches, plain lines on a terminal, each with its request's id.

Everything logs with the standard library; this alone says how it looks. What keeps prompts, keys
and answers out of it: our own lines hold numbers and names of closed sets; other libraries are
heard from warnings on, whatever the level, since some tell at "debug" all that passes through them,
and of their messages the first line; of an error the kind and the places are told, its words only
if they are ours; and what is named like a text or a secret, or looks like one, is left out.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from traceback import extract_tb
from typing import TextIO

import structlog
from stamina.instrumentation import LoggingOnRetryHook, set_on_retry_hooks
from structlog.types import EventDict, Processor

from service.correlation import request_id
from service.errors import ServiceError

OURS = ("service", "verifier", "surefoot")
PLACES = 5  # of an error, the innermost
CAUSES = 5
LEFT_OUT = "[left out]"
TELLING = re.compile(
    r"(?i)(.*_)?(authorization|key|secret|password|cookie|prompt|message|content|text|problem"
    r"|question|answer|step|body)s?"
)
"""Names of what is not logged."""
SECRET = re.compile(r"(?i)(bearer |://[^/\s:@]*:|\b(?:sk|sf)-)[^\s\"'@,]+")
"""What looks like a key or a password, wherever it stands; what it begins with is kept."""


def configure(level: str, *, content: bool, stream: TextIO = sys.stderr) -> None:
    """Set how this process logs; `content` says whether texts may stand in it."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(content=content, plain=stream.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
    set_on_retry_hooks([LoggingOnRetryHook])  # not past us, as it does where it finds structlog
    logging.getLogger("stamina").setLevel(logging.ERROR)  # who gave up in the end says so


def formatter(*, content: bool, plain: bool) -> structlog.stdlib.ProcessorFormatter:
    """What makes a line of a record: words for a person, or a JSON object."""
    ending: Processor = (
        structlog.dev.ConsoleRenderer()
        if plain
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    return structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.stdlib.ExtraAdder(),
            _identified,
            partial(_explained, content=content),
            *(() if content else (_shortened, _redacted)),
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            ending,
        ]
    )


def _identified(_: object, __: str, event: EventDict) -> EventDict:
    """Add the id of the request that is being served, if one is."""
    if (id := request_id.get()) != "-":
        event["request_id"] = id
    return event


def _explained(_: object, __: str, event: EventDict, *, content: bool) -> EventDict:
    """Tell an error's kind, its causes and where they were raised; its words where they may be."""
    raised = event.pop("exc_info", None)
    error = raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, BaseException):
        event["errors"] = [_told(each, content=content) for each in _causes(error)]
    return event


def _told(error: BaseException, *, content: bool) -> dict[str, object]:
    places = extract_tb(error.__traceback__)[-PLACES:]
    told: dict[str, object] = {
        "kind": type(error).__name__,
        "at": [f"{Path(at.filename).name}:{at.lineno} {at.name}" for at in places],
    }
    if content or isinstance(error, ServiceError):
        told["words"] = str(error)
    return told


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(CAUSES):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _shortened(_: object, __: str, event: EventDict) -> EventDict:
    """Of another library's message the first line; in asyncio's second stand an error's words."""
    if str(event.get("logger")).partition(".")[0] not in OURS:
        event["event"] = str(event["event"]).partition("\n")[0]
    return event


def _redacted(_: object, __: str, event: EventDict) -> EventDict:
    return {name: _hidden(name, value) for name, value in event.items()}


def _hidden(name: str, value: object) -> object:
    if TELLING.fullmatch(name):
        return LEFT_OUT
    if isinstance(value, str) and SECRET.search(value):
        return SECRET.sub(rf"\1{LEFT_OUT}", value)
    return value
