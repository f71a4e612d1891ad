"""Names for the quantities that cross modules, so that a signature says what a string or a number is."""

from typing import NewType

Hotkey = NewType("Hotkey", str)
"""An ss58 address that signs for one neuron; what everything remembered is keyed by."""

Uid = NewType("Uid", int)
"""A neuron's slot in the subnet: recycled, so good within one snapshot and never remembered."""

Block = NewType("Block", int)
"""A block number of the chain; about 12 s each on the real one."""

CompetitionId = NewType("CompetitionId", int)
"""A competition's number, 0 to 99, as committed on chain."""

TaskName = NewType("TaskName", str)
"""The name of one part of a competition's mix."""

Revision = NewType("Revision", str)
"""A commit of a repository: 40 lower-case hex digits."""

Digest = NewType("Digest", str)
"""A sha256 as text: base64 for contents and commitments, lower-case hex for weights and samples."""
