"""A service of ours as a process of this machine, for as long as a measurement wants it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from service.errors import StartupError


@contextmanager
def serving(
    options: Sequence[str], log: Path, settings: Mapping[str, object] | None = None
) -> Iterator[str]:
    """`surefoot serve` with these options; what is not given is as the environment has it.

    `settings` are by their names. Yields the URL; what the service says goes to the log. Raises
    `StartupError` if it does not start.
    """
    given = [f"SUREFOOT_{name.upper()}={value}" for name, value in (settings or {}).items()]
    command = ["env", *given, sys.executable, "-m", "service", *options, "--port", "0"]
    with _unwinding(), log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
        try:
            line = process.stdout.readline() if process.stdout else ""
            if "http://" not in line:
                raise StartupError(f"The service did not start; {log} says why.")
            yield f"http://{line.rpartition('http://')[2].strip()}"
        finally:
            process.terminate()
            process.wait()
            if process.stdout:
                process.stdout.close()


@contextmanager
def _unwinding() -> Iterator[None]:
    """SIGTERM ends this process as an exception would, and so ends what it has started."""

    def leave(signum: int, _: object) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
