"""What produces a loss, as one line: a change of it is an event for every validator (protocol.md section 5).

Nothing here imports torch, so that the process that only waits for judges can name their engine.
"""

from importlib.metadata import version

LOSS_VERSION = 1
"""Rises with every change of this package that can move a loss."""

ATTENTION_KERNELS = ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "MATH")
"""The kernels of torch's scaled dot product attention that may run, the first that can being taken.

Named, because the default order differs between releases and devices: another kernel moved bf16 losses by 1e-4 in the
mean and 2.5e-3 in a window.
"""


def engine_version(device: str) -> str:
    """Return the engine version of losses on a torch device such as ``cpu`` or ``cuda:1``."""
    parts = (
        f"loss {LOSS_VERSION}",
        f"torch {version('torch')}",
        f"transformers {version('transformers')}",
        f"sdpa {'>'.join(name.split('_')[0].lower() for name in ATTENTION_KERNELS)}",
        device.split(":", maxsplit=1)[0],
        "hidden states as stored, logits float32",
    )
    return "; ".join(parts)
