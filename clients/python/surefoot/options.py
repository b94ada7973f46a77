"""Options that every command has which asks a server."""

from typing import Annotated

from typer import Option

Server = Annotated[str, Option(envvar="SUREFOOT_SERVER", help="Its URL.")]
ApiKey = Annotated[
    str,
    Option(
        envvar="SUREFOOT_API_KEY",
        help="The server's key for you; unseen by others in the environment.",
        show_default=False,
    ),
]
