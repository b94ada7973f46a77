"""Engines: where completions come from."""
