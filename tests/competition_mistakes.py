"""Ways to get a competition file wrong, and the line that says so."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """One change of the small file."""

    old: str
    new: str
    at: str
    """What stands in the line that must be named."""
    told: str


MISTAKES = (
    Mistake(
        old="windows: 100",
        new='windows: "100"',
        at="windows:",
        told='competitions.prose.windows: value "100": expected a whole number, without quotes'
        " (windows of each task in a step, so also the number of batches)",
    ),
    Mistake(
        old="max_new: 4",
        new="max_new: 4\n  max_nwe: 4",
        at="max_nwe",
        told="selection.max_nwe: no such field; did you mean max_new? known here:"
        " top_stake, top_weight, pool, max_new, max_returns, fairness_blocks, champion_patience",
    ),
    Mistake(
        old="code: {source: code, weight: 0.15}",
        new="code: {source: code, weight: 0.1}",
        at="mixed:",
        told="mixes.mixed: value 0.95: the weights of a mix must sum to 1; these (prose 0.85, code 0.1) sum to 0.95",
    ),
    Mistake(
        old="eval_block_delay: 15",
        new="eval_block_delay: 10",
        at="eval_block_delay",
        told="timing.eval_block_delay: value 10: must be larger than sync_cadence, which is 10:"
        " a model must be judged on data chosen after it was committed",
    ),
    Mistake(
        old="source: code, ",
        new="source: coed, ",
        at="coed",
        told='mixes.mixed.code.source: value "coed": not defined; did you mean code? `sources` defines code, prose',
    ),
    Mistake(
        old="end: 0.003",
        new="end: 0.002",
        at="epsilon",
        told="competitions.prose.epsilon.end: value 0.002: chance decides below 3 x paired_sd / sqrt(windows) ="
        " 3 x 0.01 / sqrt(100) = 0.003; use end >= 0.003, 225 windows, or say `below_noise: accepted`",
    ),
    Mistake(
        old="kind: stdlib-code",
        new="kind: stdlib-cod",
        at="stdlib-cod}",
        told='sources.code.kind: value "stdlib-cod": did you mean stdlib-code?'
        " expected one of files, parquet, software-heritage, stdlib-code, stdlib-prose",
    ),
    Mistake(
        old="{kind: stdlib-code}",
        new="{split: judge}",
        at="{split",
        told="sources.code.kind: missing; expected one of files, parquet, software-heritage, stdlib-code, stdlib-prose",
    ),
    Mistake(
        old="families: [llama]",
        new="families: [lama]",
        at="[lama]",
        told='models.nano.families[0]: value "lama": did you mean llama? expected one of'
        " llama, mistral, qwen2, gemma, gemma2, phi, gpt_neox, falcon, bart, gpt2",
    ),
    Mistake(
        old="families: [llama]",
        new="families: []",
        at="families",
        told="models.nano.families: value []: expected at least 1 (allowed architectures)",
    ),
    Mistake(
        old="  max_weights_age: 300\n",
        new="",
        at="timing:",
        told="timing.max_weights_age: missing; expected blocks after which averages are too old to be set again",
    ),
    Mistake(
        old="name: small",
        new="name: Small one",
        at="name",
        told="name: value \"Small one\": expected a name: lower-case letters, digits, '.', '_' and '-',"
        " a letter or digit first (what this schedule is called)",
    ),
    Mistake(
        old="{path: tokenizer.json,",
        new="{repo: tokenizer,",
        at="bpe:",
        told='tokenizers.bpe.repo: value "tokenizer": expected text to match pattern'
        " '^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$' (namespace/name on the hub)",
    ),
    Mistake(
        old="paired_sd: 0.01",
        new="paired_sd: .nan",
        at="paired_sd",
        told="competitions.prose.noise.paired_sd: value NaN: expected a finite number"
        " (expected standard deviation of two models' difference on a batch, as a share of the loss)",
    ),
    Mistake(
        old="0.003, blocks: 600",
        new="0.003, blocks: 600, bloks: 7",
        at="bloks",
        told="competitions.prose.epsilon.bloks: no such field; did you mean blocks?"
        " known here: start, end, blocks, kind",
    ),
    Mistake(
        old="  code: {kind: stdlib-code}",
        new="  code: {kind: stdlib-code}\n  More: {kind: stdlib-code}",
        at="More",
        told="sources.More: value \"More\": expected a name: lower-case letters, digits, '.', '_' and '-',"
        " a letter or digit first",
    ),
)
