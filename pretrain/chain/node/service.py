"""What all connections to a node share, and what they may ask of it."""

from dataclasses import dataclass, field

from pretrain.chain.node import methods
from pretrain.chain.node.allowance import Held
from pretrain.chain.node.faults import FaultSource
from pretrain.chain.node.node import Node
from pretrain.chain.node.watch import Watch


@dataclass(frozen=True)
class Limits:
    """What one connection, and all together, may ask of a node."""

    frame_bytes: int = 1 << 20
    batch: int = 256
    """Requests in one frame."""
    requests_per_second: int = 500
    """Of one connection; as many may come at once."""
    in_flight: int = 8
    """Requests of one connection that are worked on, or whose answers wait to be taken, at a time.

    Those of one frame are worked on one after another.
    """
    answer_bytes: int = methods.MAX_ANSWER_BYTES
    """Of one answer; and what the answers of a frame hold before its other requests are refused."""
    held: int = 64 << 20
    """Characters of answers, of all connections, that nobody has taken yet."""
    seconds_to_take: float = 20.0
    """An answer that is not taken within them ends its connection."""
    subscriptions: int = 64
    """Of one connection."""
    connections: int = 64


@dataclass(frozen=True)
class Service:
    """What all connections share."""

    node: Node
    watch: Watch
    limits: Limits
    faults: FaultSource
    held: Held
    told: set[str] = field(default_factory=set)
    """Methods of whose failures the log has: whoever can cause one can cause thousands."""
