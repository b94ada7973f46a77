"""Fixtures that several test modules use."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
from staging import service


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    """The scripted service, one for a module."""
    with service() as client:
        yield client
