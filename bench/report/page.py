"""A document as one HTML page that needs nothing beside it: no script, pictures within."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report.document import Document

if TYPE_CHECKING:
    from markupsafe import Markup


def html(document: Document) -> str:
    from jinja2 import Environment, PackageLoader

    pages = Environment(
        loader=PackageLoader("bench.report", "."), autoescape=True, trim_blocks=True
    )
    pages.filters |= {"inlined": _inlined, "marked": _marked}
    return pages.get_template("page.html.j2").render(document=document)


def _inlined(file: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"


def _marked(text: str) -> Markup:
    """The two marks that our sentences have: `code` and **weight**."""
    from markupsafe import Markup, escape

    told = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", told))
