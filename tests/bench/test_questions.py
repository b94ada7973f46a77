"""Sets of questions, by name and by file; options are part of what is asked."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.questions import Item, interleaved, load
from service.errors import StartupError

ROW = {"id": "a", "question": "1 + 1?", "answer": "2"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("MATH-500.dev", "MATH.train", "GSM8K.train", "GSM8K.dev", "GSM8K.test"):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.write(json.dumps(ROW | {"id": name}))
    (tmp_path / "README.md").write_text("GSM8K", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "title", "found"),
    [
        ("GSM8K", "GSM8K", "GSM8K.dev"),
        ("math500", "MATH500", "MATH-500.dev"),
        ("GSM8K.test", "GSM8K.test", "GSM8K.test"),
        ("GSM8K.train", "GSM8K.train", "GSM8K.train"),
    ],
)
def test_a_name_finds_its_file_and_the_dev_half_first(
    folder: Path, name: str, title: str, found: str
) -> None:
    (item,) = load(name, folder, None)

    assert (found, title) == (item.id, item.dataset)


def test_a_training_split_is_never_meant_by_a_bare_name(folder: Path) -> None:
    with pytest.raises(StartupError, match="no set of questions called MATH"):
        load("MATH", folder, None)


def test_a_file_needs_no_folder_and_its_head_is_the_same_fair_sample_each_time(
    tmp_path: Path,
) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [{"problem": f"{n}?", "answer": str(n), "unique_id": f"q{n}"} for n in range(40)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    few, all_of_it = load(str(file), None, 5), load(str(file), None, None)

    assert few == all_of_it[:5]
    assert few != sorted(few, key=lambda item: int(item.answer))
    assert {"mine"} == {item.dataset for item in all_of_it}


def test_options_are_asked_with_their_letters() -> None:
    item = Item(question="Which?", answer="B", choices=("1", "2"))

    assert "Which?\nOptions:\n(A) 1\n(B) 2\nThe answer is the letter of one option." == item.asked


def test_a_name_that_is_nowhere_is_said_in_a_sentence() -> None:
    with pytest.raises(StartupError, match="no set of questions called SVAMP without --data"):
        load("SVAMP", None, None)


def test_sets_take_turns() -> None:
    sets = [[Item(question=q, answer="") for q in qs] for qs in ("abc", "d", "")]

    assert "adbc" == "".join(item.question for item in interleaved(sets))


class Hub(BaseHTTPRequestHandler):
    """A hub that has one file of one data set."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()
        self.wfile.write(HELD)

    def answer(self) -> None:
        there = self.path == "/datasets/someone/sums/resolve/main/test.jsonl"
        self.send_response(200 if there else 404)
        self.send_header("Content-Length", str(len(HELD) if there else 0))
        self.send_header("ETag", '"sums"')
        self.send_header("X-Repo-Commit", "c0ffee")
        self.end_headers()

    def log_message(self, format: str, *_: object) -> None:
        """Nothing."""


HELD = json.dumps({"problem": "1 + 1?", "answer": "2", "unique_id": "first"}).encode()
ASK = "from bench.questions import load; print(load('hf://datasets/someone/sums/{}', None, 9))"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("hub")
def test_a_set_of_the_hub_is_fetched() -> None:
    """The hub's address is read when its library is imported, so in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-c", ASK.format("test.jsonl")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert "id='first'" in ran.stdout, ran.stderr
    assert "dataset='sums'" in ran.stdout


@pytest.mark.usefixtures("hub")
def test_a_set_that_the_hub_has_not_is_said_in_a_sentence() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ASK.format("train.jsonl")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert "StartupError: hf://datasets/someone/sums/train.jsonl cannot be had" in ran.stderr
