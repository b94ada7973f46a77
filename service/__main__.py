"""`python -m service` is `surefoot serve`."""

import typer

from service.commands import serve

typer.run(serve)
