"""A server elsewhere that speaks OpenAI's API."""
