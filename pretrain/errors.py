"""The exception tree, by whose fault it is.

::

    PretrainError
     x ConfigError     ours, at start   -> one clear line, exit 2
     x ModelRejected   the miner's      -> recorded with a Reason, the step goes on
     x Refused         the caller's     -> the chain or the hub understood the call and said no
     x Unavailable     the world's      -> the entry is undecided, or the step is abandoned; state unchanged
        + ChainUnavailable  + HubUnavailable  + DataUnavailable  + EvaluatorUnavailable

Anything else is a bug: it crashes, and the supervisor restarts from the last saved state.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a model is refused: always something its miner did, and can mend."""

    UNAVAILABLE = "unavailable"
    """Private, gated, gone, renamed or redirected at its first judged window."""
    FILES = "files"
    """Not config.json with one of the two safetensors forms, or over max_bytes."""
    DIGEST = "digest"
    """The committed hash is not that of the files and this hotkey."""
    HEADER = "header"
    """A safetensors header that is malformed, or does not fit the architecture."""
    ARCHITECTURE = "architecture"
    """A family, a config, a parameter count or a vocabulary that the competition does not allow."""
    DUPLICATE = "duplicate"
    """The same weights were committed earlier."""
    NEAR_COPY = "near_copy"
    """Too close to an earlier model of another hotkey, where the competition refuses that."""
    NOT_FINITE = "not_finite"
    """A loss or a weight is NaN or infinite."""
    NOT_CAUSAL = "not_causal"
    """It reads the answers: states move with later tokens, or random tokens are known to it."""
    CRASHED = "crashed"
    """The evaluating process died on this model alone, twice."""


class Cause(StrEnum):
    """Why an entry has no outcome in a step: nobody's merit and nobody's fault."""

    HUB = "hub"
    """The hub did not answer for this repository."""
    TIMEOUT = "timeout"
    """Judging outlasted the deadline."""
    MEMORY = "memory"
    """Judging took more memory than this validator has: nobody's fault."""
    CRASHED = "crashed"
    """The evaluating process died on this model, for the first time."""
    WAITS_FOR_EARLIER = "waits_for_earlier"
    """An earlier commitment of the same files is not downloaded yet."""


class PretrainError(Exception):
    """Everything this software raises on purpose."""


class ConfigError(PretrainError):
    """A flag, a file or an environment variable is wrong: says which, where, and what would be right."""


class Refused(PretrainError):
    """The chain or the hub understood a call of ours and refused it for a stated reason."""

    def __init__(self, message: str, *, code: str = "", wait_blocks: int = 0) -> None:
        super().__init__(message)
        self.code = code
        """The refusing side's own name for the reason, such as ``SettingWeightsTooFast``."""
        self.wait_blocks = wait_blocks
        """Blocks after which the same call may be accepted; 0: waiting does not help."""


class ModelRejected(PretrainError):
    """A model breaks a rule of the competition; its miner can see why and mend it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Unavailable(PretrainError):
    """Something outside this process did not answer, or not rightly; trying again later is right."""


class ChainUnavailable(Unavailable):
    """The chain did not answer, or the sync block cannot be read."""

    def __init__(self, message: str, *, not_landed: bool = False) -> None:
        super().__init__(message)
        self.not_landed = not_landed
        """Of a write: whether it is known that it is not on chain and never will be."""


class HubUnavailable(Unavailable):
    """The model hub did not answer."""


class DataUnavailable(Unavailable):
    """A dataset did not give every row of the plan."""


class EvaluatorUnavailable(Unavailable):
    """This validator cannot judge: its engine, its device or a child process failed.

    ``cause`` says whether one model's judging failed (``TIMEOUT``, ``MEMORY``, ``CRASHED``) or, when None, the engine
    as a whole.
    """

    def __init__(self, message: str, cause: Cause | None = None) -> None:
        super().__init__(message)
        self.cause = cause
