"""A small competition file, right as it stands, for tests to break."""

SMALL = """\
name: small
netuid: 9
version_key: 1
timing:
  sync_cadence: 10
  eval_block_delay: 15
  weights_interval: 25
  max_weights_age: 300
selection:
  top_stake: 1
  top_weight: 0.1
  pool: 5
  max_new: 4
  max_returns: 2
  fairness_blocks: 600
  champion_patience: 3
weights: {min_weight: 0.001}
tokenizers:
  bpe: {path: tokenizer.json, vocabulary: 2048, eos: "<|endoftext|>"}
sources:
  prose: {kind: stdlib-prose}
  code: {kind: stdlib-code}
models:
  nano:
    families: [llama]
    tokenizer: bpe
    sequence_length: 128
    min_parameters: 1000
    max_parameters: 2000
    max_bytes: 16000
mixes:
  prose:
    prose: {source: prose, weight: 1.0}
  mixed:
    prose: {source: prose, weight: 0.85}
    code: {source: code, weight: 0.15}
competitions:
  prose: &rules
    id: 0
    model: nano
    mix: prose
    windows: 100
    max_document_tokens: 512
    epsilon: {kind: linear, start: 0.01, end: 0.003, blocks: 600}
    reward: {kind: softmax}
    noise: {paired_sd: 0.01}
  mixed:
    <<: *rules
    id: 1
    mix: mixed
phases:
  - start: 100
    competitions:
      - {competition: prose, share: 1.0}
  - start: 200
    competitions:
      - {competition: prose, share: 0.5}
      - {competition: mixed, share: 0.5, windows: 400, alpha: 0.8}
"""


def changed(old: str, new: str, text: str = SMALL) -> str:
    """Replace the one place where ``old`` stands."""
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
    return text.replace(old, new)


def line_of(part: str, text: str = SMALL) -> int:
    """Return the line, from 1, of the first place where ``part`` stands."""
    return text[: text.index(part)].count("\n") + 1
