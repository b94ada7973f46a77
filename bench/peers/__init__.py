"""Other projects' Best-of-N and self-consistency beside ours, on one engine, through one meter."""
