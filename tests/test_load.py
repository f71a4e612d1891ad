import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_architecture, tiny_constraints, tiny_llama
from transformers import LlamaForCausalLM, PreTrainedModel

from pretrain.errors import ModelRejected, Reason
from pretrain.models.architectures import Architecture, head, hidden_states
from pretrain.models.files import local_files
from pretrain.models.header import weights_digest
from pretrain.models.load import load, load_with_digest, save

CONSTRAINTS = tiny_constraints()
VOCABULARY = 256
WEIGHTS = "model.safetensors"
VARIANTS = [tiny_architecture(), tiny_architecture(tied=True), tiny_architecture(biased=True)]


def published(folder: Path, architecture: Architecture, dtype: torch.dtype = torch.float32) -> Path:
    save(random_model(architecture, dtype), folder, CONSTRAINTS)
    return folder


def random_model(architecture: Architecture, dtype: torch.dtype) -> PreTrainedModel:
    torch.manual_seed(1)
    model = architecture.build(CONSTRAINTS, "cpu")
    torch.nn.Module.to(model, dtype)
    return model


def refused(folder: Path) -> ModelRejected:
    with pytest.raises(ModelRejected) as caught:
        load(folder, CONSTRAINTS, VOCABULARY, "cpu")
    return caught.value


def rewrite(folder: Path, **changes: torch.Tensor | None) -> Path:
    tensors = {**load_file(folder / WEIGHTS), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / WEIGHTS)
    return folder


@pytest.mark.parametrize("architecture", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_published_model_is_loaded_as_it_was(tmp_path: Path, architecture: Architecture, dtype: torch.dtype) -> None:
    original = random_model(architecture, dtype)
    save(original, tmp_path, CONSTRAINTS)
    loaded, digest = load_with_digest(tmp_path, CONSTRAINTS, VOCABULARY, "cpu")
    assert digest == weights_digest(tmp_path)
    expected = dict(original.named_parameters())
    assert {name: tensor.dtype for name, tensor in loaded.named_parameters()} == dict.fromkeys(expected, dtype)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.named_parameters())


@pytest.mark.parametrize("architecture", VARIANTS)
def test_the_library_computes_the_same_logits_from_the_same_folder(tmp_path: Path, architecture: Architecture) -> None:
    folder = published(tmp_path / "m", architecture)
    theirs = LlamaForCausalLM.from_pretrained(folder)
    ids = torch.randint(256, (2, 32), generator=torch.Generator().manual_seed(0))
    ours = load(folder, CONSTRAINTS, VOCABULARY, "cpu")
    with torch.inference_mode():
        torch.testing.assert_close(head(ours)(hidden_states(ours, ids)), theirs(ids).logits, rtol=0, atol=1e-6)


def test_a_loaded_model_is_for_judging_only(tmp_path: Path) -> None:
    model = load(published(tmp_path, VARIANTS[0]), CONSTRAINTS, VOCABULARY, "cpu")
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def test_a_miner_publishes_two_files_and_nothing_else(tmp_path: Path) -> None:
    folder = published(tmp_path / "m", VARIANTS[0])
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", WEIGHTS]
    assert [file.name for file in local_files(folder)] == ["config.json", WEIGHTS]


def test_sharded_weights_are_loaded_as_the_same_model(tmp_path: Path) -> None:
    whole = published(tmp_path / "m", VARIANTS[0])
    tensors = load_file(whole / WEIGHTS)
    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    split = tmp_path / "split"
    split.mkdir()
    (split / "config.json").write_bytes((whole / "config.json").read_bytes())
    for shard, held in shards.items():
        save_file({name: tensors[name] for name in held}, split / shard)
    weight_map = {name: shard for shard, held in shards.items() for name in held}
    (split / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    one, digest = load_with_digest(whole, CONSTRAINTS, VOCABULARY, "cpu")
    other, same = load_with_digest(split, CONSTRAINTS, VOCABULARY, "cpu")
    assert digest == same == weights_digest(split)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_weights_of_several_dtypes_are_computed_in_one_that_holds_them_all(tmp_path: Path) -> None:
    folder = published(tmp_path, VARIANTS[0], torch.bfloat16)
    norm = "model.norm.weight"
    rewrite(folder, **{norm: torch.full((32,), 1 + 2**-20)})
    model, digest = load_with_digest(folder, CONSTRAINTS, VOCABULARY, "cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert dict(model.named_parameters())[norm][0] == 1 + 2**-20
    assert digest == weights_digest(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_weight_that_is_not_finite_is_refused(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    folder = published(tmp_path, VARIANTS[0], dtype)
    name = "model.layers.1.mlp.up_proj.weight"
    tensor = load_file(folder / WEIGHTS)[name]
    tensor[3, 5] = value
    rejection = refused(rewrite(folder, **{name: tensor}))
    assert (rejection.reason, name in rejection.detail) == (Reason.NOT_FINITE, True)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("model.norm.weight", None),
        ("extra.weight", torch.ones(1)),
        ("model.rotary_emb.inv_freq", torch.ones(4)),
        ("lm_head.bias", torch.ones(256)),
        ("model.norm.weight", torch.ones(33)),
        ("model.norm.weight", torch.ones(32, dtype=torch.float64)),
        ("model.norm.weight", torch.ones(32, dtype=torch.float8_e4m3fn)),
    ],
)
def test_missing_extra_and_odd_tensors_are_refused(tmp_path: Path, name: str, tensor: torch.Tensor | None) -> None:
    rejection = refused(rewrite(published(tmp_path, VARIANTS[0]), **{name: tensor}))
    assert (rejection.reason, name in rejection.detail) == (Reason.HEADER, True)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    folder = published(tmp_path, VARIANTS[0])
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-1])
    assert refused(folder).reason is Reason.HEADER


def test_a_config_that_says_another_shape_than_the_weights_is_refused(tmp_path: Path) -> None:
    folder = published(tmp_path, VARIANTS[0])
    (folder / "config.json").write_bytes(tiny_architecture(hidden=64).config_json(CONSTRAINTS))
    assert refused(folder).reason is Reason.HEADER


def test_a_config_that_would_read_the_answers_is_refused(tmp_path: Path) -> None:
    folder = published(tmp_path, VARIANTS[0])
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(config | {"is_causal": False}))
    assert refused(folder).reason is Reason.ARCHITECTURE


def test_tiny_models_of_one_seed_are_one_model(tmp_path: Path) -> None:
    digests = [weights_digest(tiny_llama(tmp_path / str(k), seed=seed)) for k, seed in enumerate((0, 0, 1))]
    assert (digests[0] == digests[1], digests[0] == digests[2]) == (True, False)
