"""A competition file that takes models of ``tiny_llama``, with its text and tokenizer."""

import json
from pathlib import Path

from fakes import one_competition

from pretrain.data.tokenizer import train

EOS = "<|endoftext|>"
TEXTS = tuple(f"This is text number {number}. {'It goes on. ' * (number % 7)}" for number in range(400))


def write_competition(folder: Path) -> None:
    """Write ``competition.yaml`` into a folder, and beside it all that it names."""
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    train(TEXTS, 300, folder / "tokenizer.json", EOS)
    fields = one_competition().model_dump(mode="json", exclude_none=True)
    fields["sources"] = {"prose": {"kind": "files", "path": "texts.jsonl"}, "code": {"kind": "stdlib-code"}}
    fields["tokenizers"] = {"bytes": {"path": "tokenizer.json", "vocabulary": 300, "eos": EOS}}
    fields["models"]["nano"] |= {"max_parameters": 1_000_000, "max_bytes": 1_000_000}
    (folder / "competition.yaml").write_text(json.dumps(fields))  # JSON is YAML
