"""One network trained to answer as an ensemble does."""
