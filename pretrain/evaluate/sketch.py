"""The sketch of a network that is in memory, on whatever device."""

import numpy as np
import numpy.typing as npt
import torch

from pretrain.fingerprint import Sketch, take_sketch
from pretrain.types import Digest


def sketch_of(model: torch.nn.Module, samples: Digest) -> Sketch:
    """Take a network's sketch at the places that the samples' digest decides."""
    weights = dict(model.named_parameters())  # a tied head is not in it

    def read(name: str, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        weight = weights[name].detach()
        values = weight.flatten()[torch.from_numpy(places).to(weight.device)]
        return np.asarray(values.float().cpu().numpy(), dtype=np.float32)

    return take_sketch({name: tuple(weight.shape) for name, weight in weights.items()}, samples, read)
