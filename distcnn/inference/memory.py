"""Memory: how a failure says that it ran out."""

import torch


def out_of_memory(error: BaseException) -> bool:
    """Whether a failure says that memory ran out, on the host or on a device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text
    )
