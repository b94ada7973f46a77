"""What schemathesis checks besides its own: a valid request is refused for a reason it may have."""

from __future__ import annotations

from typing import Any

import schemathesis

BEYOND_A_SCHEMA = (
    "text must not be blank",  # Unicode has more blanks than a pattern may name
    "Input should be a valid integer",  # to JSON Schema, 2.0 is one
    "Input should be less than 9223372036854775808",  # FastAPI writes bounds as floats
    "Input should be greater than or equal to -9223372036854775808",
    "The compute budget is smaller than the question and one token; raise it.",
    "The last turn must be the user's.",
    "the last of the messages must be the user's",
    "The model's name chooses the strategy; leave this out.",
    "Servers and templates are not chosen by requests.",
    "This goes with stream alone.",
    "No request has so much time here; ask for less.",
    "Two fields set this limit, and differ; leave one out.",
)


@schemathesis.check
def refused_for_what_no_schema_can_say(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """A rule that a schema could state, but the document does not, is a defect of the document."""
    valid = case.meta is not None and case.meta.generation.mode.is_positive
    if valid and response.status_code == 400:
        message = response.json()["error"]["message"]
        assert message.endswith(BEYOND_A_SCHEMA), message
