"""Why an engine is not used: reported in the table of trials, never raised to a user."""


class EngineRefused(Exception):
    """An engine cannot run a package on this machine."""
