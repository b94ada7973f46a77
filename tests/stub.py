"""A server in a thread that plays the replies it is given and remembers what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = Mapping[str, Any]
Reply = Callable[["Handler"], None]

SOLUTION: dict[str, Any] = {
    "id": "solve-1",
    "answer": "18",
    "verified": True,
    "score": 0.93,
    "strategy": "stepco",
    "stop_reason": "accepted",
    "steps": [
        {
            "step": 1,
            "text": "She sells 16 - 7 = 9 eggs.",
            "round": 0,
            "score": {"correct": 0.97, "value": 0.8},
        },
        {
            "step": 2,
            "text": "She makes 9 * 2 = 18 dollars.",
            "round": 1,
            "score": {"correct": 0.93, "value": 0.93},
        },
    ],
    "rounds": [
        {"round": 0, "kept": 0, "first_weak": 2, "score": 0.31, "tokens": 143},
        {"round": 1, "kept": 1, "first_weak": None, "score": None, "tokens": 40},
    ],
    "candidates": [],
    "usage": {
        "policy": {"prompt": 1200, "cached": 100, "completion": 183, "calls": 2},
        "verifier": {"tokens": 210, "calls": 2},
        "wasted": 0,
        "total": 1493,
    },
    "baseline": {
        "strategy": "best_of_n",
        "n": 10,
        "kind": "estimated",
        "policy": {"prompt": 5000, "cached": 1000, "completion": 1430, "calls": 10},
        "verifier": {"tokens": 1357, "calls": 10},
        "total": 6787,
        "answer": None,
        "saving": 0.78,
    },
    "warnings": ["The engine is slow today."],
    "model": "scripted",
    "verifier": "arithmetic",
    "elapsed_ms": 5321,
    "trace": None,
}

STEPCO: list[tuple[str, Json]] = [
    ("step", {"round": 0, "sample": 0, "step": 1, "text": "She sells 16 - 7 = 9 eggs."}),
    ("step", {"round": 0, "sample": 0, "step": 2, "text": "She makes 9 + 2 = 11 dollars."}),
    (
        "drafted",
        {
            "round": 0,
            "sample": 0,
            "steps": ["She sells 16 - 7 = 9 eggs.", "She makes 9 + 2 = 11 dollars."],
            "answer": "11",
            "tokens": 143,
        },
    ),
    (
        "verified",
        {
            "round": 0,
            "sample": 0,
            "scores": [{"correct": 0.97, "value": 0.8}, {"correct": 0.31, "value": 0.2}],
            "first_weak": 2,
            "tokens": 110,
        },
    ),
    ("step", {"round": 1, "sample": 0, "step": 2, "text": "She makes 9 * 2 = 18 dollars."}),
    (
        "revised",
        {
            "round": 1,
            "kept": 1,
            "first_weak": 2,
            "score": 0.31,
            "steps": ["She sells 16 - 7 = 9 eggs.", "She makes 9 * 2 = 18 dollars."],
            "answer": "18",
            "tokens": 40,
            "sample": 0,
        },
    ),
    (
        "verified",
        {
            "round": 1,
            "sample": 0,
            "scores": [{"correct": 0.97, "value": 0.8}, {"correct": 0.93, "value": 0.93}],
            "first_weak": None,
            "tokens": 100,
        },
    ),
    ("done", SOLUTION),
]


class Stub:
    """Replies in order, the last one again and again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.replies: list[Reply] = []
        self.asked: list[Json] = []
        self.headers: list[Mapping[str, str]] = []
        self.left = threading.Event()
        """Set when a caller left in the middle of a stream."""

    def plays(self, *replies: Reply) -> None:
        self.replies = list(replies)

    def next(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    stub: Stub


class Handler(BaseHTTPRequestHandler):
    @property
    def stub(self) -> Stub:
        assert isinstance(self.server, Server)
        return self.server.stub

    def do_POST(self) -> None:
        stub = self.stub
        body = self.rfile.read(int(self.headers["Content-Length"]))
        stub.asked.append({"path": self.path, **json.loads(body)})
        stub.headers.append(dict(self.headers))
        stub.next()(self)

    def do_GET(self) -> None:
        self.stub.asked.append({"path": self.path})
        self.stub.next()(self)

    def log_message(self, format: str, *args: object) -> None:
        """A test's output is its own."""

    def write(self, data: str) -> None:
        self.wfile.write(data.encode())

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def playing() -> Iterator[Stub]:
    server = Server(("127.0.0.1", 0), Handler)
    server.stub = Stub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answers(body: object, status: int = 200, **headers: str) -> Reply:
    """A reply of JSON; an underscore in a header's name stands for a hyphen."""

    def reply(handler: Handler) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.begin(status, {"Content-Type": "application/json", **named})
        handler.write(body if isinstance(body, str) else json.dumps(body))

    return reply


def refuses(status: int, message: str = "No.", **headers: str) -> Reply:
    said = {"message": message, "type": "some_error", "param": "budget", "code": "some_code"}
    return answers({"error": said}, status, **headers)


def streams(*events: tuple[str, object], pause: float = 0.0, stay: bool = False) -> Reply:
    """A reply of events; `stay`: it goes on with keep-alives until the caller leaves."""

    def reply(handler: Handler) -> None:
        handler.begin(200, {"Content-Type": "text/event-stream"})
        try:
            for name, data in events:
                handler.write(f": ping\n\nevent: {name}\ndata: {json.dumps(data)}\n\n")
                time.sleep(pause)
            while stay:
                handler.write(": ping\n\n")
                time.sleep(0.01)
        except OSError:
            handler.stub.left.set()

    return reply


def breaks(*events: tuple[str, object]) -> Reply:
    """A stream whose connection is cut in the middle of a chunk."""

    def reply(handler: Handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        chunked = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
        handler.begin(200, chunked)
        for name, data in events:
            text = f"event: {name}\ndata: {json.dumps(data)}\n\n"
            handler.write(f"{len(text.encode()):x}\r\n{text}\r\n")
        handler.write("ff\r\nevent: do")
        handler.close_connection = True

    return reply
