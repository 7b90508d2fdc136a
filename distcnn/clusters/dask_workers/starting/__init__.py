"""How workers on this machine, and the wait for workers anywhere, begin."""
