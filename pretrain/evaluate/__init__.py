"""The evaluator as a step sees it: a folder with a model and samples in, losses out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pretrain.competition import Constraints
from pretrain.data import Samples
from pretrain.fingerprint import Sketch
from pretrain.preview import Preview
from pretrain.types import Digest, TaskName


@dataclass(frozen=True)
class Measurement:
    """The losses of one model, with what produced them."""

    losses: Mapping[TaskName, npt.NDArray[np.float64]]
    """(windows,) for each task: mean over T - 1 predictions of the negative log-likelihood, in nats."""
    weights: Digest
    """The weights digest of the tensors that were loaded (protocol.md section 3): what was really scored."""
    samples: Digest
    """The digest of the samples as the child read them."""
    engine: str
    """The engine version: library versions, attention kernel, device kind, dtype rule."""
    seconds: float
    """Wall time of the child; for people, never for a decision."""
    sketch: Sketch
    """Of the weights that were loaded, at places that the samples' digest decides."""


class Evaluator(Protocol):
    """Judges models, each in a process of its own."""

    @property
    def engine(self) -> str:
        """The engine version that every measurement will carry."""

    async def inspect(self, preview: Preview, constraints: Constraints) -> None:
        """See whether config and headers are those of a model that the competition allows, without its weights.

        Raises ModelRejected when they are not, and EvaluatorUnavailable as ``losses`` does.
        """

    async def losses(
        self, model: Path, samples: Samples, constraints: Constraints, seconds: float | None = None
    ) -> Measurement:
        """Measure a model folder (config.json and safetensors) on samples, in at most ``seconds``; None: its own limit.

        Raises ModelRejected when the model is at fault, and EvaluatorUnavailable with a cause when its judging crashed
        or outlasted the deadline, without a cause when the engine as a whole cannot judge.
        """
