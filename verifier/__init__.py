"""Steps, answers and scores. Imports nothing of the service."""
