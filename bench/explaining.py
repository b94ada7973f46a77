"""What keeps a measurement from being made, told in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from service.commands import explained


@contextmanager
def explaining() -> Iterator[None]:
    """What a file, the server or the installation lacks ends the command, with exit code 4."""
    from service.errors import StartupError
    from surefoot import SurefootError
    from verifier.training.data import DataError

    with explained():
        try:
            yield
        except DataError as error:
            raise StartupError(str(error)) from error
        except SurefootError as error:
            raise StartupError(error.message) from error
        except ModuleNotFoundError as error:
            raise StartupError(
                f"{error.name} is not installed; pip install 'surefoot-service[bench]'"
            ) from error
