"""The stars of a simulated survey: where they are, what they are, how bright they look."""
