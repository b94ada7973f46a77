"""Is a question one to be worked out, so that steps are asked for and verified?

Such a question gets our step format. Every other reaches the policy as it came, so that a haiku, a
translation or a block of JSON comes back as the policy writes it. A rule, not a model: it costs no
tokens and says the same every time. What it takes for a problem asks for a quantity and gives one,
or asks something of many quantities or of a formula. Requests to write, translate or extract are
none, whatever numbers they hold; nor is anything that shall be answered in a data format.
"""

import re
from collections.abc import Sequence

MANY = 2  # quantities that an everyday question may hold

_QUANTITY = re.compile(
    r"""(?<![\w.,-])[$€£]?\d
    | \b(?:half|third|quarter|twice|double|triple|thrice|dozen|one|two|three|four|five|six|seven
        |eight|nine|ten|eleven|twelve|hundred|thousand)s?\b""",
    re.IGNORECASE | re.VERBOSE,
)
_NOTATION = re.compile(r"\$[^$]+\$|\\[(\[]|\\[cd]?frac|\d\s*[-+*×÷^=]\s*\(?\d")
_ASKS_A_QUANTITY = re.compile(
    r"""\bhow\s+(?:many|much|far|long|old|fast|tall|big|often|high|wide|heavy)\b
    | \b(?:compute|calculate|evaluate|simplify|solve|factor|prove|expand|convert|round)\b
    | \b(?:what|which)\s+(?:fraction|percent|percentage|number|integer|value|digit)
    | \b(?:sum|product|average|total|difference|probability|area|perimeter|volume
        |remainder|ratio|percentage|value|number|cost|price|profit|distance|speed)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_ASKS = re.compile(
    r"\?|\b(?:find|determine|what|show\s+that|express|suppose|given)\b", re.IGNORECASE
)
_DICTATES = re.compile(
    r"""\A\W*(?:please\W+)?(?:(?:can|could|would)\s+you\W+(?:please\W+)?)?
        (?:write|translate|summari[sz]e|rewrite|rephrase|paraphrase|classify|extract|list|explain
          |describe|generate|return|reply|repeat|tell|correct|compose|draft|create|name|implement)\b
    | \btranslat | \bsummar""",
    re.IGNORECASE | re.VERBOSE,
)
_DATA = re.compile(r"```|\b(?:json|yaml|xml|csv)\b", re.IGNORECASE)


def is_problem(text: str, instructions: Sequence[str] = ()) -> bool:
    """Of the last turn, under the instructions that went before it."""
    if _DICTATES.search(text) or any(_DATA.search(said) for said in (text, *instructions)):
        return False
    quantities = len(_QUANTITY.findall(text))
    if _ASKS_A_QUANTITY.search(text):
        return quantities > 0
    return bool(_ASKS.search(text) and (quantities > MANY or _NOTATION.search(text)))
