"""Client of Surefoot: ask over HTTP, watch the steps being checked, count the tokens.

Events and errors stand in `types` and `errors`. A client is imported when first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from surefoot.errors import SurefootError
from surefoot.types import Event, Solution

if TYPE_CHECKING:
    from surefoot.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "Event", "Solution", "SurefootError", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name in ("AsyncClient", "Client"):
        return getattr(import_module("surefoot.client"), name)
    raise AttributeError(f"module 'surefoot' has no attribute {name!r}")
