"""Programs of ours as processes of this machine, so that a bench can send them signals."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

Started = tuple[subprocess.Popen[str], str]
"""A process and its URL."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def program(module: str, *arguments: str, variables: Sequence[str] = ()) -> Iterator[Started]:
    """`python -m module`, once it has said its URL; it is killed behind the block, if it lives."""
    command = ["env", *variables, sys.executable, "-m", module, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = re.search(r"http://[\d.:]+", process.stdout.readline())
            if said is None:
                raise RuntimeError(f"{module} did not start")
            yield process, said[0]
        finally:
            process.kill()
