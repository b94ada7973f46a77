"""OpenAI's API over the solver: its requests read, our reports told in its shapes."""
