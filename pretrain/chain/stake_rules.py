"""What the chain refuses of moving stake, pure: all in the pool, in the real order (measured, spec 293)."""

from pretrain.chain.calls import U16_MAX, AddStake, RemoveStake
from pretrain.chain.rules import Here
from pretrain.errors import Refused
from pretrain.types import Hotkey

_SWAP_FEE = 196  # / 65535 of what is swapped


def check_stake(here: Here, netuid: int, action: AddStake, balance: int, owner: str | None) -> None:
    """Refuse a stake elsewhere, too small, not covered, or on a hotkey that nobody owns (``validate_add_stake``)."""
    _check_swap(here, netuid, action.amount)
    if action.amount > balance:
        raise Refused(f"{action.amount} rao to stake; the coldkey has {balance}", code="BalanceTooLow")
    if owner is None:
        raise Refused(f"hotkey {action.hotkey} was never registered", code="HotKeyAccountNotExists")


def check_unstake(here: Here, netuid: int, signer: Hotkey, action: RemoveStake, owner: str | None, stake: int) -> None:
    """Refuse to take stake back that is elsewhere, too little, or not there (``validate_remove_stake``).

    Stake is the hotkey's here, whoever gave it, and its owner's to take.
    """
    _check_swap(here, netuid, action.amount)
    if owner is None:
        raise Refused(f"hotkey {action.hotkey} was never registered", code="HotKeyAccountNotExists")
    own = stake if owner == signer else 0
    if action.amount > own:
        raise Refused(f"{action.amount} rao to take back; {signer} has {own}", code="NotEnoughStakeToWithdraw")


def _check_swap(here: Here, netuid: int, amount: int) -> None:
    """Refuse a swap on a subnet without a token of its own, or of less than the minimum once its fee is off.

    This chain takes no fee; the real one does, and so its smallest stake is a little above the minimum.
    """
    if netuid != here.genesis.netuid:
        raise Refused(f"stake is on subnet {here.genesis.netuid} here, not on {netuid}", code="BadRequest")
    least, swapped = here.parameters.min_stake, amount - amount * _SWAP_FEE // U16_MAX
    if swapped < least:
        raise Refused(f"{amount} rao, {swapped} after the fee, is under {least}", code="StakeAmountTooLow")
