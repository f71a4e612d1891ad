"""The gallery: every attack by files, headers, configs and weights."""

import attacks_by_configs
import attacks_by_files
import attacks_by_headers
import attacks_by_json
import attacks_by_sizes
import attacks_by_weights
from attack import Attack

ATTACKS: tuple[Attack, ...] = (
    *attacks_by_files.ATTACKS,
    *attacks_by_headers.ATTACKS,
    *attacks_by_json.ATTACKS,
    *attacks_by_configs.ATTACKS,
    *attacks_by_sizes.ATTACKS,
    *attacks_by_weights.ATTACKS,
)
