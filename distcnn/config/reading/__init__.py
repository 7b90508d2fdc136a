"""Reading configuration: YAML, values from the command line, and what is refused."""
