import base64
import hashlib
import re
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.commitment import Commitment, Entry, content_digest, decode, secure_hash
from pretrain.types import Block, CompetitionId, Digest, Hotkey, Revision

REVISION = "0123456789abcdef" * 2 + "01234567"
HASH = base64.b64encode(bytes(range(32))).decode()
EXAMPLE = Commitment("alice", "model-1", Revision(REVISION), Digest(HASH), CompetitionId(7))
HOTKEY = Hotkey("5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY")


@dataclass(frozen=True)
class Listed:
    name: str
    size: int
    sha256: str


@st.composite
def commitments(draw: st.DrawFn) -> Commitment:
    competition = draw(st.integers(0, 99))
    room = 39 if competition < 10 else 38
    namespace = draw(part(room - 1))
    return Commitment(
        namespace,
        draw(part(room - len(namespace))),
        Revision(draw(st.text("0123456789abcdef", min_size=40, max_size=40))),
        Digest(base64.b64encode(draw(st.binary(min_size=32, max_size=32))).decode()),
        CompetitionId(competition),
    )


def part(longest: int) -> st.SearchStrategy[str]:
    ends = "abcXYZ019"
    middle = st.text(ends + "._-", max_size=max(longest - 2, 0))
    return st.one_of(
        st.sampled_from(ends), st.tuples(st.sampled_from(ends), middle, st.sampled_from(ends)).map("".join)
    ).filter(lambda text: len(text) <= longest)


@given(commitments())
def test_a_commitment_reads_back_as_itself_and_fits_on_chain(commitment: Commitment) -> None:
    text = commitment.encode()

    assert (decode(text), len(text.encode()) <= 128, text.isascii()) == (commitment, True, True)


def test_the_text_is_namespace_name_revision_hash_and_competition_between_colons() -> None:
    assert EXAMPLE.encode() == f"alice:model-1:{REVISION}:{HASH}:7"


def test_a_repository_is_written_with_a_slash() -> None:
    assert (EXAMPLE.repo, Entry(HOTKEY, Block(5), EXAMPLE).competition) == ("alice/model-1", 7)


@pytest.mark.parametrize("competition", [0, 9, 10, 99])
def test_names_fill_the_text_to_128_bytes_and_no_further(competition: int) -> None:
    room = 39 if competition < 10 else 38
    fits = replace(EXAMPLE, namespace="n", name="m" * (room - 1), competition=CompetitionId(competition))
    too_long = replace(fits, name=fits.name + "m")

    assert len(fits.encode()) == 128
    with pytest.raises(ValueError, match="at most 128 fit on chain"):
        too_long.encode()


BAD = {
    "four parts": (f"alice:{REVISION}:{HASH}:7", "has 4 parts"),
    "six parts": (f"alice:model:x:{REVISION}:{HASH}:7", "has 6 parts"),
    "nothing": ("", "has 1 parts"),
    "an empty namespace": (f":model:{REVISION}:{HASH}:7", "namespace ''"),
    "an empty name": (f"alice::{REVISION}:{HASH}:7", "name ''"),
    "a namespace that begins with a dot": (f".alice:model:{REVISION}:{HASH}:7", "namespace '.alice'"),
    "a name that ends with a dash": (f"alice:model-:{REVISION}:{HASH}:7", "name 'model-'"),
    "a slash in a name": (f"alice:a/b:{REVISION}:{HASH}:7", "name 'a/b'"),
    "a parent folder as a name": (f"alice:..:{REVISION}:{HASH}:7", "name '..'"),
    "a space in a name": (f"alice:a b:{REVISION}:{HASH}:7", "name 'a b'"),
    "a line break after a name": (f"alice:model\n:{REVISION}:{HASH}:7", r"name 'model\n'"),
    "a revision in upper case": (f"alice:model:{REVISION.upper()}:{HASH}:7", "40 lower-case hex digits"),
    "a short revision": (f"alice:model:{REVISION[:-1]}:{HASH}:7", "40 lower-case hex digits"),
    "a branch as a revision": (f"alice:model:main:{HASH}:7", "40 lower-case hex digits"),
    "a line break after the revision": (f"alice:model:{REVISION}\n:{HASH}:7", "40 lower-case hex digits"),
    "a hash in hex": (f"alice:model:{REVISION}:{'ab' * 16}:7", "canonical base64"),
    "a hash without padding": (f"alice:model:{REVISION}:{HASH[:-1]}:7", "canonical base64"),
    "a hash in the alphabet for addresses": (f"alice:model:{REVISION}:{'_' * 43}=:7", "canonical base64"),
    "a hash whose last digit carries lost bits": (f"alice:model:{REVISION}:{HASH[:-2]}9=:7", "canonical base64"),
    "an id with a leading zero": (f"alice:model:{REVISION}:{HASH}:07", "'07'"),
    "an id of three digits": (f"alice:model:{REVISION}:{HASH}:100", "'100'"),
    "a negative id": (f"alice:model:{REVISION}:{HASH}:-1", "'-1'"),
    "an empty id": (f"alice:model:{REVISION}:{HASH}:", "competition_id ''"),
    "an id in other digits": (f"alice:model:{REVISION}:{HASH}:\u0667", "not ASCII"),
    "a letter outside ASCII": (f"\u00e4lice:model:{REVISION}:{HASH}:7", "not ASCII"),
    "a line break at the end": (f"alice:model:{REVISION}:{HASH}:7\n", r"'7\n'"),
}


@pytest.mark.parametrize(("text", "complaint"), BAD.values(), ids=BAD.keys())
def test_a_commitment_that_breaks_the_form_is_none_and_says_where(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        decode(text)


@given(st.text(max_size=140) | st.text("a:0.-/+=\n ", max_size=140))
def test_whatever_is_read_from_the_chain_reads_back_to_the_same_text_or_is_refused(text: str) -> None:
    try:
        commitment = decode(text)
    except ValueError:
        return
    assert commitment.encode() == text


@pytest.mark.parametrize(
    "wrong",
    [
        replace(EXAMPLE, namespace="a:b"),
        replace(EXAMPLE, name="-"),
        replace(EXAMPLE, revision=Revision("main")),
        replace(EXAMPLE, secure_hash=Digest("x")),
        replace(EXAMPLE, competition=CompetitionId(100)),
    ],
)
def test_a_commitment_that_breaks_the_form_is_never_written(wrong: Commitment) -> None:
    with pytest.raises(ValueError, match=r"expected|both ends|parts"):
        wrong.encode()


def test_the_content_digest_is_that_of_one_line_a_file_sorted_by_name_as_bytes() -> None:
    files = [
        Listed("model.safetensors", 20, "bb" * 32),
        Listed("Model.safetensors", 3, "cc" * 32),
        Listed("config.json", 2, "aa" * 32),
    ]
    lines = (
        b"Model.safetensors\x003\x00" + b"cc" * 32 + b"\n"
        b"config.json\x002\x00" + b"aa" * 32 + b"\n"
        b"model.safetensors\x0020\x00" + b"bb" * 32 + b"\n"
    )

    assert content_digest(files) == base64.b64encode(hashlib.sha256(lines).digest()).decode()


names = st.text("abcXYZ.-", min_size=1, max_size=8)
listings = st.lists(
    st.builds(Listed, names, st.integers(0, 2**40), st.text("0123456789abcdef", min_size=64, max_size=64)),
    unique_by=lambda file: file.name,
    max_size=6,
)


@given(listings.flatmap(lambda files: st.tuples(st.just(files), st.permutations(files))))
def test_the_order_in_which_a_hub_lists_files_changes_no_digest(pair: tuple[list[Listed], list[Listed]]) -> None:
    assert content_digest(pair[0]) == content_digest(pair[1])


@given(listings, listings)
def test_other_files_have_another_content_digest(one: list[Listed], other: list[Listed]) -> None:
    assert (content_digest(one) == content_digest(other)) == (set(one) == set(other))


def test_the_committed_hash_binds_the_content_to_one_hotkey() -> None:
    content = Digest(HASH)
    expected = base64.b64encode(hashlib.sha256(HASH.encode() + HOTKEY.encode()).digest()).decode()

    assert secure_hash(content, HOTKEY) == expected
    assert secure_hash(content, Hotkey("5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty")) != expected
