"""The numbers a subnet's owner sets and an epoch obeys, raw as the chain stores them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Hyperparameters:
    """A subnet's settings; the defaults are those of the measured subnet (subtensor spec 293)."""

    kappa: int = 32_767
    """Stake share, / 65535, that must support a weight before it counts: the consensus majority."""
    tempo: int = 20
    """Epochs are tempo + 1 blocks apart; 360 is usual on the main network."""
    activity_cutoff: int = 5_000
    """Blocks after its last weights during which a validator counts as active."""
    max_validators: int = 64
    """How many neurons get a permit."""
    stake_threshold: int = 0
    """Rao of stake weight below which stake counts as none."""
    tao_weight: int = 971_718_665_099_567_868
    """What a unit of root stake counts in units of the subnet's own, / (2**64 - 1)."""
    bonds_moving_average: int = 900_000
    """Share of the old bonds that an epoch keeps, / 1,000,000; not read where liquid alpha is in force."""
    bonds_penalty: int = 65_535
    """How far the weights that make bonds are clipped to the consensus, / 65535; 0: not at all."""
    bonds_reset: bool = False
    """Whether a commitment with the reset flag clears its neuron's bonds; read at the commitment, not in the epoch."""
    yuma3: bool = False
    """Bonds follow each validator's own weights instead of its share of a miner's column."""
    liquid_alpha: bool = False
    """Each bond's rate follows how far weight and consensus differ; without yuma3 it is ignored."""
    alpha_low: int = 45_875
    """The slowest rate of liquid alpha, / 65535."""
    alpha_high: int = 58_982
    """The fastest rate of liquid alpha, / 65535; not below alpha_low."""
    alpha_sigmoid_steepness: int = 1_000
    """Steepness of the sigmoid between the two, / 100; negative turns it round."""
