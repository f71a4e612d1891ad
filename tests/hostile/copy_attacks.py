"""Attacks by copies: the same weights in another guise, under another name, or under a text that another has signed."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from fakes import block_hash, model, schedule_of
from hostile_world import HONEST, KILOBYTES, THIEF, Files, Stage, rebuilt, sharded
from outside import Attack, Found, Guard
from step_attacks import COMMITTED_HASH

from pretrain.commitment import Entry
from pretrain.models.files import CONFIG
from pretrain.ownership import Claim, Owner
from pretrain.types import Block, Digest

ORIGINAL = model("original", prose=2.0, code=2.0)
MODELS = 1200


def comes_first(thief: str, block: int) -> bool:
    """Whether the attacker's hotkey is the earlier one in a block."""
    first, second = (hashlib.sha256(block_hash(block) + name.encode()).digest() for name in (thief, HONEST))
    return first < second


LOST = next(block for block in range(10, 60) if not comes_first(THIEF, block))
WON = next(block for block in range(10, 60) if comes_first(THIEF, block))


def both(root: Path, files: Files, block: int, *, competition: int = 0) -> Stage:
    """Return a stage with an original of block ``LOST`` and the attacker's model."""
    stage = Stage(root)
    stage.world.schedule = schedule_of()
    stage.world.commit(HONEST, LOST, ORIGINAL)
    stage.world.commit(THIEF, block, files, competition=competition)
    return stage


def guised(root: Path, guise: Callable[[Files], Files]) -> Found:
    stage = both(root, guise(ORIGINAL), LOST + 1)
    return stage.found(stage.play(100))


def in_the_same_block(root: Path) -> Found:
    """By a hotkey that was ground until its own hash is small: the order must not be known beforehand."""
    stage = Stage(root)
    ground = next(name for name in map(str, range(1000)) if small(name) and not comes_first(name, LOST))
    stage.world.commit(HONEST, LOST, ORIGINAL)
    stage.world.commit(ground, LOST, {**ORIGINAL, CONFIG: b"{ }"})
    return stage.found(stage.play(100), ground)


def small(name: str) -> bool:
    return hashlib.sha256(name.encode()).digest() < hashlib.sha256(HONEST.encode()).digest()


def by_hotkey(entry: Entry, _: Mapping[Block, bytes]) -> tuple[int, bytes, bytes]:
    """Order by block and hotkey alone."""
    return (entry.block, hashlib.sha256(entry.hotkey.encode()).digest(), entry.hotkey.encode())


def in_another_competition(root: Path) -> Found:
    stage = both(root, {**ORIGINAL, CONFIG: b"{ }"}, LOST + 1, competition=1)
    return stage.found(stage.play(100, 110))


def under_many_hotkeys(root: Path) -> Found:
    """The same files under as many hotkeys of one owner as there are places."""
    stage = Stage(root, {"selection": {"max_new": 20}})
    for number in range(200):
        stage.world.commit(f"twin{number}", 10, ORIGINAL, repo=f"twin{number}/model")
    stage.world.commit(HONEST, 20, 1.0)
    return stage.honest(stage.play(100))


def again_by_its_owner(root: Path) -> Found:
    """A fresh commitment of its own weights, for a fresh head start."""
    stage = Stage(root)
    stage.world.commit(THIEF, 10, ORIGINAL)
    stage.play(100)
    stage.world.commit(THIEF, 101, {**ORIGINAL, CONFIG: b"{ }"})
    return stage.found(stage.play(120))


def a_text_of_the_same_block(root: Path) -> Found:
    stage = Stage(root)
    entry = stage.world.commit(HONEST, WON, ORIGINAL)
    stage.world.entries[stage.world.register(THIEF)] = replace(entry, hotkey=stage.world.register(THIEF))
    return stage.found(stage.play(100))


def everybody_owns(owners: Mapping[Digest, Owner], weights: Digest, entry: Entry, _: object) -> Claim:
    return Claim({**owners, weights: Owner(entry, entry)})


def of_files(folder: Path) -> Digest:
    """Digest whatever files there are, as they lie there."""
    told = "".join(f"{path.name} {path.read_bytes().hex()}\n" for path in sorted(folder.iterdir()))
    return Digest(hashlib.sha256(told.encode()).hexdigest())


OWNER = Guard("ownership.claim", {"pretrain.describe.claim": everybody_owns})
OVER_TENSORS = Guard(
    "header.weights_digest: over tensors",
    dict.fromkeys(("pretrain.judge.weights_digest", "fakes.weights_digest"), of_files),
)
TIE = Guard(
    "ownership.precedence: the block's hash",
    dict.fromkeys(
        [f"pretrain.{name}.precedence" for name in ("describe", "selection", "decision", "ownership")], by_hotkey
    ),
)
GUISES: Mapping[str, Callable[[Files], Files]] = {
    "a space in config.json": lambda files: {**files, CONFIG: b"{ }"},
    "another sharding": sharded,
    "metadata in the header": partial(rebuilt, metadata={"format": "pt"}),
    "tensors, and dtype, shape and offsets of each, in another order": partial(rebuilt, backwards=True),
}
COPY_ATTACKS = (
    *(
        Attack(
            f"a copy with {name}", "weights digest", "duplicate", MODELS,
            (OVER_TENSORS,), "scored", partial(guised, guise=guise),
        )
        for name, guise in GUISES.items()
    ),
    Attack(
        "a copy in the same block, by a hotkey ground to come first", "weights digest", "duplicate", MODELS,
        (TIE,), "champion", in_the_same_block,
    ),
    Attack(
        "a copy in another competition", "weights digest", "duplicate", MODELS,
        (OWNER,), "champion", in_another_competition,
    ),
    Attack(
        "the same files under 200 hotkeys, to fill every place", "queue", "the honest one is champion", 45 * KILOBYTES,
        (Guard("selection.waits", {"pretrain.selection.waits": lambda *_: {}}),),
        "the honest one is queued", under_many_hotkeys,
    ),
    Attack(
        "its own weights again, for a fresh block", "weights digest", "duplicate", MODELS,
        (OWNER,), "champion", again_by_its_owner,
    ),
    Attack(
        "a commitment's text copied in its own block", "first look", "digest", KILOBYTES,
        (COMMITTED_HASH,), "champion", a_text_of_the_same_block,
    ),
)  # fmt: skip
