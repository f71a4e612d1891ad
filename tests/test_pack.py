import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pretrain.data.pack import Document, pack, stream, stream_length

EOS = 0


def document(*tokens: int) -> Document:
    """Every token stands for as many bytes as its id says."""
    ids = np.array(tokens, dtype=np.int32)
    return Document(ids, ids.copy())


documents = st.lists(st.lists(st.integers(1, 99), max_size=12).map(lambda ids: document(*ids)), max_size=20)


def test_one_eos_stands_after_each_document_and_the_last_partial_window_is_dropped() -> None:
    windows = pack([document(1, 2, 3), document(4), document(5, 6, 7)], EOS, 4)
    assert windows.tokens.tolist() == [[1, 2, 3, EOS], [4, EOS, 5, 6]]


def test_bytes_are_those_of_all_tokens_but_the_first_with_eos_counting_none() -> None:
    windows = pack([document(1, 2, 3), document(4), document(5, 6, 7)], EOS, 4)
    assert windows.bytes.tolist() == [2 + 3, 5 + 6]


def test_an_empty_document_adds_no_eos() -> None:
    assert stream([document(), document(1), document(), document(2)], EOS)[0].tolist() == [1, EOS, 2, EOS]


def test_too_little_text_for_a_window_gives_none() -> None:
    windows = pack([document(1)], EOS, 4)
    assert (windows.tokens.shape, windows.bytes.shape) == ((0, 4), (0,))


@given(documents, st.integers(2, 9))
def test_windows_one_after_the_other_are_the_stream(texts: list[Document], length: int) -> None:
    joined = [token for text in texts if text.tokens.size for token in (*text.tokens.tolist(), EOS)]
    windows = pack(texts, EOS, length)
    assert windows.tokens.ravel().tolist() == joined[: len(joined) // length * length]


@given(documents, st.integers(2, 9))
def test_every_byte_of_a_window_is_counted_once(texts: list[Document], length: int) -> None:
    windows = pack(texts, EOS, length)
    assert windows.bytes.tolist() == windows.tokens[:, 1:].sum(axis=1).tolist()


@given(documents)
def test_the_length_of_a_stream_is_known_without_making_it(texts: list[Document]) -> None:
    assert stream_length(texts) == stream(texts, EOS)[0].size


def test_the_types_are_those_of_samples() -> None:
    windows = pack([document(1, 2, 3)], EOS, 2)
    assert (str(windows.tokens.dtype), str(windows.bytes.dtype)) == ("int32", "int64")


def test_eight_million_tokens_are_packed_in_linear_time() -> None:
    texts = [document(*range(1, 101))] * 80_000
    begun = time.process_time()
    windows = pack(texts, EOS, 128)
    # arrays take a tenth of a second; a list cut at the front takes over 20
    assert (windows.tokens.shape, time.process_time() - begun < 5) == ((80_000 * 101 // 128, 128), True)
