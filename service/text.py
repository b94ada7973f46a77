"""What text is, whoever wrote it: characters that JSON, UTF-8 and every database take.

NUL and lone surrogates are none. A caller who sends one is refused; where a model writes one it
becomes U+FFFD.
"""

import re

_UNREADABLE = re.compile("[\x00\ud800-\udfff]")


def is_readable(text: str) -> bool:
    return _UNREADABLE.search(text) is None


def readable(text: str) -> str:
    return _UNREADABLE.sub("\ufffd", text)
