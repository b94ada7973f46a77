"""Measurements. Each is a command whose last line is JSON."""
