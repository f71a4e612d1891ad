import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models

from pretrain import schedule
from pretrain.data.tokenizer import Tokenizer, load, train
from pretrain.errors import ConfigError

EOS = "<|endoftext|>"
WORDS = ["old", "new", "great"] * 30
TEXTS = [f"The {word} of the house was {word}er than number {n}." for n, word in enumerate(WORDS)]
VOCABULARY = 300


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return train(TEXTS, VOCABULARY, tmp_path_factory.mktemp("tokenizer") / "tokenizer.json", EOS)


def spec(**fields: object) -> schedule.Tokenizer:
    return schedule.Tokenizer.model_validate({"path": "tokenizer.json", "vocabulary": VOCABULARY, "eos": EOS} | fields)


def changed(tmp_path: Path, **parts: object) -> Path:
    """Write a trained tokenizer.json with other parts."""
    path = tmp_path / "tokenizer.json"
    train(TEXTS, VOCABULARY, path, EOS)
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))
    return path


def test_training_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    train(TEXTS, VOCABULARY, tmp_path / "one.json", EOS)
    train(reversed(TEXTS), VOCABULARY, tmp_path / "other.json", EOS)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "other.json").read_bytes()


@pytest.mark.parametrize("threads", ["1", "5"])
def test_the_number_of_threads_does_not_change_the_bytes(tmp_path: Path, threads: str, trained: Tokenizer) -> None:
    program = (
        "import sys, pathlib; from pretrain.data.tokenizer import train;"
        "print(train(eval(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4]).digest)"
    )
    command = [sys.executable, "-c", program, repr(TEXTS), str(VOCABULARY), str(tmp_path / "tokenizer.json"), EOS]
    answer = subprocess.run(  # noqa: S603 - this very interpreter
        command, env=os.environ | {"RAYON_NUM_THREADS": threads}, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == trained.digest


def test_training_leaves_the_finished_file_and_nothing_else(tmp_path: Path) -> None:
    tokenizer = train(TEXTS, VOCABULARY, tmp_path / "deep" / "tokenizer.json", EOS)
    (written,) = (tmp_path / "deep").iterdir()
    assert (written.name, hashlib.sha256(written.read_bytes()).hexdigest()) == ("tokenizer.json", tokenizer.digest)


def test_a_loaded_tokenizer_encodes_as_the_trained_one(tmp_path: Path) -> None:
    tokenizer = train(TEXTS, VOCABULARY, tmp_path / "tokenizer.json", EOS)
    loaded = load(tmp_path / "tokenizer.json", spec(digest=tokenizer.digest))
    assert [d.tokens.tolist() for d in loaded.encode(TEXTS)] == [d.tokens.tolist() for d in tokenizer.encode(TEXTS)]


def test_text_that_spells_a_special_token_stays_text(trained: Tokenizer) -> None:
    (document,) = trained.encode([f"before{EOS}after"])
    assert (trained.eos in document.tokens, trained.model.decode(document.tokens.tolist())) == (
        False,
        f"before{EOS}after",
    )


@given(st.lists(st.text(), max_size=4))
def test_the_bytes_of_tokens_sum_to_the_bytes_of_the_text(trained: Tokenizer, texts: list[str]) -> None:
    assert [int(d.bytes.sum()) for d in trained.encode(texts)] == [len(text.encode()) for text in texts]


@given(st.text(min_size=1), st.integers(1, 20))
def test_a_cut_document_is_the_beginning_of_the_whole_one(trained: Tokenizer, text: str, most: int) -> None:
    (cut,), (whole,) = trained.encode([text], most), trained.encode([text])
    assert cut.tokens.tolist() == whole.tokens[:most].tolist()


def test_an_endless_document_costs_no_more_than_what_is_kept(trained: Tokenizer) -> None:
    begun = time.process_time()
    (document,) = trained.encode(["word " * 4_000_000], 16)
    # all of these 20 MB take some seconds, their beginning a millisecond
    assert (document.tokens.size, time.process_time() - begun < 0.5) == (16, True)


def test_more_texts_than_a_batch_keep_their_order(trained: Tokenizer) -> None:
    texts = [str(number) for number in range(600)]
    assert [trained.model.decode(d.tokens.tolist()) for d in trained.encode(texts)] == texts


def test_nothing_is_added_to_a_text(tmp_path: Path) -> None:
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": EOS, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {EOS: {"id": EOS, "ids": [0], "tokens": [EOS]}},
    }
    path = changed(tmp_path, post_processor=template)
    assert load(path, spec()).eos not in load(path, spec()).encode(["a text"])[0].tokens


def test_added_text_counts_its_bytes_and_special_tokens_none(tmp_path: Path) -> None:
    path = changed(tmp_path)
    content = json.loads(path.read_text())
    content["added_tokens"].append(content["added_tokens"][0] | {"id": 300, "content": "größer", "special": False})
    path.write_text(json.dumps(content))
    tokenizer = load(path, spec(vocabulary=301))
    (document,) = tokenizer.encode(["größer"])
    assert (document.tokens.tolist(), document.bytes.tolist(), tokenizer.byte_lengths[tokenizer.eos]) == ([300], [8], 0)


def test_a_length_limit_in_the_file_is_not_taken_over(tmp_path: Path) -> None:
    limit = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    (document,) = load(changed(tmp_path, truncation=limit), spec()).encode(["a text of more than two tokens"])
    assert document.bytes.sum() == 30


def test_another_digest_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    tokenizer = train(TEXTS, VOCABULARY, tmp_path / "tokenizer.json", EOS)
    with pytest.raises(ConfigError, match=f"has digest {tokenizer.digest}, but the competition file pins {'0' * 64}"):
        load(tmp_path / "tokenizer.json", spec(digest="0" * 64))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"vocabulary": 299}, "has 300 token ids, the competition file says vocabulary 299"),
        ({"eos": "</s>"}, r"no special token '</s>' for eos; its special tokens are <\|endoftext\|>"),
    ],
)
def test_a_tokenizer_that_is_not_as_described_is_refused(
    tmp_path: Path, fields: dict[str, object], complaint: str
) -> None:
    train(TEXTS, VOCABULARY, tmp_path / "tokenizer.json", EOS)
    with pytest.raises(ConfigError, match=complaint):
        load(tmp_path / "tokenizer.json", spec(**fields))


def test_an_eos_that_text_could_spell_is_refused(tmp_path: Path) -> None:
    path = changed(tmp_path)
    content = json.loads(path.read_text())
    content["added_tokens"][0]["special"] = False
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"no special token .* its special tokens are none"):
        load(path, spec())


def test_a_tokenizer_that_encodes_by_chance_is_refused(tmp_path: Path) -> None:
    model = json.loads(changed(tmp_path).read_text())["model"]
    with pytest.raises(ConfigError, match=r"encodes by chance, with dropout 0\.5"):
        load(changed(tmp_path, model=model | {"dropout": 0.5}), spec())


def test_a_tokenizer_whose_bytes_are_unknown_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizers.Tokenizer(models.WordLevel({"a": 0})).save(str(path))
    with pytest.raises(ConfigError, match=r"WordLevel with decoder None; only byte-level BPE"):
        load(path, spec())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_a_broken_file_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"is no tokenizer\.json") as caught:
        load(path, spec())
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.json", spec())


def test_too_little_text_for_the_vocabulary_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gives only 259 of 2048 tokens"):
        train(["aaaa"], 2048, tmp_path / "tokenizer.json", EOS)
    assert list(tmp_path.iterdir()) == []


def test_a_vocabulary_below_the_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="use at least 257"):
        train(TEXTS, 256, tmp_path / "tokenizer.json", EOS)


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        train(TEXTS, VOCABULARY, tmp_path / "file" / "tokenizer.json", EOS)
