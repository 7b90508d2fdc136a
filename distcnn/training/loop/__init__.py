"""One member from its first weights to its best."""
