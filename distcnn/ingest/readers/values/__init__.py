"""What columns mean, the same in every format: numbers or missing, identifiers, labels."""
