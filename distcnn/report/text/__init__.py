"""What a path is, as text for a terminal."""
