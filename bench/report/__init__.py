"""What a run came to: figures with intervals, pictures, and pages to read."""
