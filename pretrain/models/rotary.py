"""Rotary embeddings: their base and their share of a head, from each place where a release of the library writes them.

transformers 4 wrote ``rope_theta``, ``partial_rotary_factor`` and ``rope_scaling`` (GPT-NeoX: ``rotary_emb_base`` and
``rotary_pct``); transformers 5 writes all of it into ``rope_parameters``. Every scaling is refused: what it computes
depends on the length of a window or on ``max_position_embeddings``, which must not matter.
"""

from dataclasses import dataclass

from pretrain.models.fields import Config, Values, neutral, number, rejected

THETA = "rope_theta"
SHARE = "partial_rotary_factor"
"""How much of each head is rotated: a share above 0 and up to 1."""

DEFAULT_THETA = 10_000.0
"""Where a config names no base: RoFormer (arXiv 2104.09864, section 3.2.2), and the library's own default."""

_BOUNDS = {THETA: (1.0, 1e12), SHARE: (0.0, 1.0)}
_KNOWN = {"rope_type", "type", THETA, SHARE}


@dataclass(frozen=True)
class Rotary:
    """The base or the share, under our name ``THETA`` or ``SHARE``."""

    absent: float
    spelled: str
    """Its name at the top level of the family's config.json; inside ``rope_parameters`` all families have one name."""

    def read(self, config: Config, name: str, earlier: Values) -> float:  # noqa: ARG002 - of the Protocol
        """Return the number; see ``Field.read``."""
        places = [(config, self.spelled), *((rope, name) for rope in ropes(config))]
        given = {
            number(place[spelled], spelled, _BOUNDS[name])
            for place, spelled in places
            if place.get(spelled) is not None
        }
        if len(given) > 1:
            raise rejected(f"{name} is given as {min(given)} and as {max(given)}; name it once")
        return given.pop() if given else self.absent


def ropes(config: Config) -> list[dict[str, object]]:
    """Return the objects that describe rotary embeddings, neither of which may scale them."""
    found = []
    for place in ("rope_parameters", "rope_scaling"):
        rope = config.get(place)
        if rope is None:
            continue
        if not isinstance(rope, dict) or rope.keys() - _KNOWN:
            raise rejected(f"{place} {rope!a:.60} is not supported; use rope_type 'default' with a {THETA}")
        neutral(rope, "rope_type", ("default", None), place)
        neutral(rope, "type", ("default", None), place)
        found.append(rope)
    return found


def check_whole_heads(config: Config) -> None:
    """Refuse a share below 1 in a family that rotates whole heads."""
    for place in (config, *ropes(config)):
        neutral(place, SHARE, (1, None))
