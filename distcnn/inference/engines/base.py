"""Why an engine is not used; told in the table of trials, never to a user as an error."""


class EngineRefused(Exception):
    """An engine cannot run a package on this machine."""
