"""Attacks by what a repository lists, names and holds."""

import json
import os
import pickle
import tempfile
from pathlib import Path

import take_out
from attack import Attack
from counting_hub import Files
from crafted import FIRST, SECOND, configured, file, honest, index, oracle, sharded, tensors, victim
from gates import SCORED, Attempt
from safetensors.torch import save
from take_out import all_of, constant

from pretrain.errors import Reason
from pretrain.models import files
from pretrain.models.files import CONFIG, INDEX, WEIGHTS

_EMPTY = file(b"{}", b"")
_NAMES = files._model_names  # noqa: SLF001 - stands in its own place when a guard around it is out
_ABSOLUTE = str(Path(tempfile.gettempdir()) / f"pretrain-gallery-{os.getpid()}.safetensors")
_ELSEWHERE = ("../x.safetensors", _ABSOLUTE, "sub/model.safetensors", "MODEL.safetensors", "C:\\x.safetensors")
_CODE = {
    "generation_config.json": b'{"max_length": 1e999}',
    "modeling_llama.py": b"raise SystemExit('code of a miner ran')",
    "pytorch_model.bin": pickle.dumps({}),
    "tokenizer.json": b"{",
    "tokenizer_config.json": b'{"auto_map": {"AutoTokenizer": ["modeling_llama.T", null]}}',
}


def _also(shard: str, content: bytes = _EMPTY) -> Files:
    """Return an honest model in two shards whose index names one more file."""
    repository = sharded(honest())
    named = json.loads(repository[INDEX])["weight_map"]
    return {**repository, shard: content, INDEX: index({**named, "more": shard})}


def _many() -> Files:
    names = [f"{number}.safetensors" for number in range(100_000)]
    listed = {CONFIG: honest()[CONFIG], INDEX: index({name: name for name in names})}
    return {**dict.fromkeys(names, _EMPTY), **listed}


def _without_second() -> Files:
    return {name: content for name, content in sharded(honest()).items() if name != SECOND}


def _nested() -> Files:
    deep = b'{"weight_map": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    return {**sharded(honest()), INDEX: deep}


def _wrote_outside(tried: Attempt) -> bool:
    for place in tried.hub.escaped:
        place.unlink()
    return bool(tried.hub.escaped)


def _present_also(present: dict[str, int], raw: bytes) -> tuple[str, ...]:
    return _NAMES({**present, **dict.fromkeys(json.loads(raw)["weight_map"].values(), 1)}, raw)


def _outside(name: str, told: str) -> Attack:
    """Name a file that would be written outside its folder."""
    out = all_of(take_out.plain_shard_names, take_out.hub_lists_plain_names, take_out.store_takes_plain_names)
    guard = "`files._SHARD` and `names.may_be_of_a_model` and `names.is_file_name` in the store"
    return Attack(told, lambda: _also(name), "listing", Reason.FILES, 200, guard, out, _wrote_outside)


def _no_shard(name: str, told: str) -> Attack:
    """Name a file that is no ``*.safetensors`` of plain letters at the top level."""
    out = all_of(take_out.plain_shard_names, take_out.hub_lists_plain_names)
    guard = "`files._SHARD` and `names.may_be_of_a_model`"
    return Attack(
        told, lambda: _also(name), "listing", Reason.FILES, 200, guard, out, lambda tried: name in tried.hub.bytes_of
    )


ATTACKS = (
    _outside("../x.safetensors", "an index that names `../x.safetensors`"),
    _outside(_ABSOLUTE, "an index that names an absolute path"),
    _no_shard("sub/x.safetensors", "an index that names a file in a folder"),
    _no_shard("..\\x.safetensors", "an index that names a path with backslashes"),
    _no_shard("x.bin", "an index that names a file that is no safetensors"),
    Attack(
        "an index that names 100,000 files",
        _many,
        "listing",
        Reason.FILES,
        4_200_000,
        "`files.MAX_SHARDS`",
        constant(files, "MAX_SHARDS", 1 << 30),
        lambda tried: tried.hub.requests > 5000,
    ),
    Attack(
        "an index of 17 MB",
        lambda: {**sharded(honest()), INDEX: bytes(17_000_000)},
        "listing",
        Reason.FILES,
        0,
        "`files._at_most`",
        constant(files, "_at_most", take_out.nothing),
        lambda tried: tried.hub.read_bytes >= 17_000_000,
    ),
    Attack(
        "a config.json of more than 1 MB",
        lambda: configured(honest(), padding="x" * (1 << 20)),
        "listing",
        Reason.FILES,
        0,
        "`files._at_most`",
        constant(files, "_at_most", take_out.nothing),
        lambda tried: tried.hub.read_bytes > 1 << 20,
    ),
    Attack(
        "an index nested 20,000 deep",
        _nested,
        "listing",
        Reason.FILES,
        41_000,
        "`hostile_json.parse_object`",
        take_out.any_json,
        lambda tried: tried.outcome == "crash: RecursionError",
    ),
    Attack(
        "an index whose `weight_map` is a list",
        lambda: {**sharded(honest()), INDEX: b'{"weight_map": ["a.safetensors"]}'},
        "listing",
        Reason.FILES,
        40,
        "`files._shards`",
        constant(files, "_shards", lambda raw: set(json.loads(raw)["weight_map"].values())),
        lambda tried: tried.outcome == "crash: AttributeError",
    ),
    Attack(
        "both forms of weights together",
        lambda: {**sharded(honest()), WEIGHTS: victim()[WEIGHTS]},
        "listing",
        Reason.FILES,
        200,
        "`files._model_names`",
        constant(
            files,
            "_model_names",
            lambda present, raw: _NAMES({name: 1 for name in present if name != WEIGHTS}, raw),
        ),
    ),
    Attack(
        "a shard that the index names is missing",
        _without_second,
        "listing",
        Reason.FILES,
        200,
        "`files._model_names`",
        constant(files, "_model_names", _present_also),
        lambda tried: tried.outcome == "crash: KeyError",
    ),
    Attack(
        "a shard that the index does not name, with half of the tensors",
        lambda: {**sharded(honest()), INDEX: index({"x": FIRST})},
        "config and headers",
        Reason.HEADER,
        2_500,
        "`architectures.check_header` and `load._assemble`",
        all_of(take_out.header_must_fit, take_out.all_must_be_given),
        lambda tried: tried.outcome.startswith("crash"),
    ),
    Attack(
        "another's model with one more shard, for a weights digest of its own",
        lambda: {
            **sharded(victim()),
            INDEX: index({"x": FIRST, "y": SECOND, "z": "z.safetensors"}),
            "z.safetensors": save({"z": tensors(victim())["model.norm.weight"]}),
        },
        "config and headers",
        Reason.HEADER,
        4_500,
        "`architectures.check_header`",
        take_out.header_must_fit,
    ),
    Attack(
        "another's model in shards of another order",
        lambda: sharded(victim(), reverse=True),
        "ownership",
        Reason.DUPLICATE,
        146_000,
        "`header.digest_of_tensors`",
        take_out.digest_without_order,
    ),
    Attack(
        "two shards that differ in case alone",
        lambda: _also("A.safetensors"),
        "listing",
        Reason.FILES,
        200,
        "`files._shards`",
        constant(files, "_shards", lambda raw: set(json.loads(raw)["weight_map"].values())),
    ),
    Attack(
        "a file that the hub lists twice",
        honest,
        "listing",
        Reason.FILES,
        0,
        "the counts in `files.model_files`",
        constant(files, "Counter", lambda names=(): dict.fromkeys(names, 1)),
        twice=WEIGHTS,
    ),
    Attack(
        "weights that come as a link to another file",
        honest,
        "download",
        "undecided: the hub's",
        146_000,
        "`checked._seal`",
        constant(Path, "is_symlink", lambda self: self is None),
        lambda tried: tried.outcome == SCORED and bool(tried.hub.escaped),
        links=frozenset({WEIGHTS}),
    ),
    Attack(
        "other files than were committed",
        lambda: dict(oracle()),
        "listing",
        Reason.DIGEST,
        0,
        "the committed hash, in `describe.listing`",
        take_out.committed_hash,
        committed=honest,
    ),
    Attack(
        "more bytes than the competition allows",
        honest,
        "size",
        Reason.FILES,
        0,
        "`max_bytes`",
        rules={"max_bytes": 100_000},
        lenient={"max_bytes": 1_000_000},
    ),
    Attack(
        "code, pickles, a tokenizer and a `generation_config.json` beside the model: none is read",
        lambda: {**honest(), **_CODE},
        SCORED,
        SCORED,
        146_000,
        "`names.may_be_of_a_model` and `files._model_names`",
        take_out.every_file_is_of_the_model,
        lambda tried: all(tried.hub.bytes_of[name] for name in _CODE),
    ),
    Attack(
        "`../x`, an absolute name, a folder and other letters in the hub's list: none is read",
        lambda: {**honest(), **dict.fromkeys(_ELSEWHERE, _EMPTY)},
        SCORED,
        SCORED,
        146_000,
        "`names.may_be_of_a_model` and `files._model_names` and the store's",
        all_of(take_out.every_file_is_of_the_model, take_out.store_takes_plain_names),
        _wrote_outside,
    ),
)
