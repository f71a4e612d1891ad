"""A whole source as one stream of tokens, to train on."""

import asyncio

import numpy as np
import numpy.typing as npt

from pretrain.data import Source
from pretrain.data.pack import stream
from pretrain.data.plan import plan
from pretrain.data.tokenizer import Tokenizer
from pretrain.types import TaskName

_ROWS_A_VISIT = 8  # of a group, so that neighbours in a file do not follow each other in training


async def training_texts(source: Source, *, seed: int) -> list[str]:
    """Return every document of a source once, in an order that follows from the seed alone; raises DataUnavailable.

    The order is that of a plan, as for judging, so documents of one file do not stand together.
    """
    rows_of = {group.name: await source.rows(group) for group in source.groups}
    order = plan(source.groups, seed, TaskName("train"), rows_a_visit=_ROWS_A_VISIT)
    return [rows_of[group.name][row] for group, rows in order for row in rows]


async def training_tokens(
    source: Source, tokenizer: Tokenizer, *, seed: int, max_document_tokens: int | None = None
) -> npt.NDArray[np.int32]:
    """Return (tokens,) of every document once, one EOS after each, in an order that follows from the seed alone.

    Open the source with ``split="train"``: what a model is judged on is for nobody's training. Raises DataUnavailable.
    """
    texts = await training_texts(source, seed=seed)
    documents = await asyncio.to_thread(tokenizer.encode, texts, max_document_tokens)
    tokens, _ = stream(documents, tokenizer.eos)
    return tokens
