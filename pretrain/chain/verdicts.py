"""What an answer of the real chain to a write of ours means; pure.

The SDK gives an error's name, as the runtime has it, where it knows one, and always a code, its own class of such
names. Names that mean something else here than their code stand in one table, the codes in another; a test walks the
SDK's catalogues and fails on a code that is missing and on a name that is no longer there.
"""

from collections.abc import Mapping
from enum import StrEnum


class Meaning(StrEnum):
    """What the caller is to make of it."""

    NO = "no"
    """Refused, and so will the same call be at any time: somebody has to do something."""
    LATER = "later"
    """Refused for now: the same call is right after some blocks."""
    AGAIN = "again"
    """Not taken, for a reason that passes by itself: the same call, signed anew, is right at any time."""
    LOOK = "look"
    """It may be on chain or still get there: only the chain itself can tell."""


BY_CODE: Mapping[str, Meaning] = {
    "insufficient_balance": Meaning.NO,
    "insufficient_liquidity": Meaning.NO,
    "rate_limited": Meaning.LATER,
    "not_registered": Meaning.NO,
    "not_authorized": Meaning.NO,
    "already_exists": Meaning.NO,
    "not_found": Meaning.NO,
    "subnet_not_exists": Meaning.NO,
    "subtoken_disabled": Meaning.NO,
    "disabled": Meaning.NO,
    "too_early": Meaning.LATER,
    "expired": Meaning.LOOK,  # a signature that got too old, of this call or of one before it
    "limit_exceeded": Meaning.NO,
    "unit_mismatch": Meaning.NO,
    "invalid_argument": Meaning.NO,
    "policy_violation": Meaning.NO,
    "internal": Meaning.LOOK,
    "unknown": Meaning.LOOK,
}

BY_NAME: Mapping[str, Meaning] = {
    "SpaceLimitExceeded": Meaning.LATER,  # bytes of commitments, free again in the next epoch
    "TooManyRegistrationsThisBlock": Meaning.LATER,
    "TooManyRegistrationsThisInterval": Meaning.LATER,
    "TooManyUnrevealedCommits": Meaning.LATER,
    "CommitQueueFull": Meaning.LATER,
    "AncientBirthBlock": Meaning.AGAIN,
    "BadProof": Meaning.AGAIN,  # signed over a block that was reorganised away, or over the runtime before an upgrade
    "CannotLookup": Meaning.AGAIN,
    "ExhaustsResources": Meaning.AGAIN,
    "IndeterminateImplicit": Meaning.AGAIN,
    "Stale": Meaning.AGAIN,  # another program used the nonce
    "Future": Meaning.AGAIN,
    "AlreadyImported": Meaning.LOOK,
    "PriorityTooLow": Meaning.LOOK,  # a call with this key and nonce waits in the pool: perhaps our own
    "Usurped": Meaning.LOOK,
    "Retracted": Meaning.LOOK,
    "FinalityTimeout": Meaning.LOOK,
    "Dropped": Meaning.LOOK,
    "Invalid": Meaning.LOOK,
}


def meaning(name: str | None, code: str) -> Meaning:
    """Return what an error with this name, where it has one, and this code means."""
    return BY_NAME.get(name or "", BY_CODE.get(code, Meaning.LOOK))


ADVICE: Mapping[str, str] = {
    "AccountNotAllowedCommit": "register the hotkey on this subnet first: `btcli subnets register`",
}
"""What to do about an error, where the SDK's own advice does not fit a neuron."""
