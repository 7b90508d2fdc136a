"""The terminal: progress bars where somebody looks, log lines elsewhere."""
