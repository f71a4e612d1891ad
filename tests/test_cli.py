"""The ``pretrain`` command: exit codes, one line for a wrong question, and JSON everywhere."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from competition_texts import SMALL, changed

from pretrain import cli
from pretrain.commitment import secure_hash
from pretrain.errors import HubUnavailable, Refused
from pretrain.types import Digest, Hotkey

HOTKEY = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
OTHER = "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty"
DIGEST = base64.b64encode(bytes(range(32))).decode()
REVISION = "0123456789abcdef0123456789abcdef01234567"
SECURE = secure_hash(Digest(DIGEST), Hotkey(HOTKEY))
TEXT = f"acme:model-1:{REVISION}:{SECURE}:7"

NAMES = ("prose", "mixed")
POSITIVE = "expected greater than 0 (windows of each task in a step, so also the number of batches)"

Ask = Callable[..., tuple[int, str, str]]
"""Arguments in; exit code, standard output and standard error out."""


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")


FILES = {
    "small.yaml": SMALL,
    "broken.yaml": changed("windows: 100", "windows: 0"),
    "rewritten.yaml": SMALL.replace("  <<: *rules\n", "  <<: *rules  # as above\n") + "\n# the end\n",
    "wider.yaml": changed("windows: 400", "windows: 500"),
}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Ask:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_help_says_what_it_is_and_the_first_commands(run: Ask) -> None:
    code, out, err = run("--help")
    wanted = ["decentralised pretraining", "competitions check", "commitment decode", "Exit code", "--json"]
    assert (code, err, [part for part in wanted if part not in out]) == (0, "", [])


def test_help_answers_without_the_libraries_that_take_seconds() -> None:
    heavy = {"torch", "transformers", "bittensor", "pandas", "pyarrow", "matplotlib", "wandb"}
    code = (
        "import sys; from pretrain.cli import run; run(['--help']);"
        f" print(sorted(set(sys.modules) & {heavy!r}), file=sys.stderr)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nonsense"], "No such command 'nonsense'; see --help\n"),
        (["competitions", "check"], "Missing argument 'files'; see --help\n"),
        (["competitions", "show", "small.yaml"], "Missing option '--block'; see --help\n"),
        (["competitions", "check", "gone.yaml"], "gone.yaml: no such file or directory; expected a competition file\n"),
        (
            ["competitions", "show", "broken.yaml", "--block", "1"],
            "".join(f"broken.yaml:42: competitions.{name}.windows: value 0: {POSITIVE}\n" for name in NAMES),
        ),
        (
            ["commitment", "decode", "a:b"],
            "commitment 'a:b' has 2 parts; expected namespace:name:revision:secure_hash:competition_id\n",
        ),
        (
            ["commitment", "decode", TEXT, "--hotkey", HOTKEY],
            "--hotkey and --digest go together: the hash on chain binds one to the other\n",
        ),
        (
            ["commitment", "decode", TEXT, "--hotkey", HOTKEY, "--digest", "abc"],
            "digest 'abc': expected the canonical base64 of a sha256, 44 characters\n",
        ),
        (
            ["commitment", "decode", TEXT, "--hotkey", "abc", "--digest", DIGEST],
            "hotkey 'abc': expected an ss58 address, 46 to 48 letters and digits\n",
        ),
        (
            ["commitment", "encode", "acme", REVISION, "--digest", DIGEST, "--hotkey", HOTKEY, "--competition", "7"],
            "repository 'acme': expected NAMESPACE/NAME\n",
        ),
        (
            ["commitment", "encode", "a/b", "main", "--digest", DIGEST, "--hotkey", HOTKEY, "--competition", "7"],
            "revision 'main': expected 40 lower-case hex digits\n",
        ),
        (
            ["commitment", "encode", "a/b", REVISION, "--digest", DIGEST, "--hotkey", HOTKEY, "--competition", "100"],
            "competition_id '100': expected a decimal from 0 to 99 without leading zero\n",
        ),
    ],
)
def test_a_wrong_question_is_clear_lines_on_stderr_and_exit_code_2(run: Ask, arguments: list[str], line: str) -> None:
    assert run(*arguments) == (2, "", line)


@pytest.mark.parametrize("error", [HubUnavailable("the hub did not answer"), Refused("too fast")])
def test_what_the_world_refuses_is_one_line_and_exit_code_2(
    run: Ask, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    assert run("anything") == (2, "", f"{error}\n")


def test_what_a_person_stops_is_one_line_and_exit_code_2(run: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise typer.Abort

    monkeypatch.setattr(cli, "app", stop)
    assert run("anything") == (2, "", "stopped\n")


def test_a_bug_keeps_its_traceback(run: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(ZeroDivisionError):
        run("anything")


def test_main_exits_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = []
    for arguments in (["check", "small.yaml"], ["check", "broken.yaml"], ["check", "gone.yaml"]):
        monkeypatch.setattr(sys, "argv", ["pretrain", "competitions", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        codes.append(caught.value.code)
    assert codes == [0, 1, 2]


def test_check_of_a_right_file_is_0_with_notes_and_its_digest(run: Ask) -> None:
    code, out, err = run("competitions", "check", "small.yaml")
    lines = out.splitlines()
    assert (code, err, [line.split(":")[:2] for line in lines[:-1]]) == (0, "", [["note", " small.yaml"]] * 3)
    assert lines[-1].startswith("small.yaml: right; 2 phase(s), digest 49f17c31")


def test_check_refuses_what_is_not_pinned_when_asked_to(run: Ask) -> None:
    code, out, _ = run("competitions", "check", "--pinned", "small.yaml")
    assert (code, [line.split(": ")[1] for line in out.splitlines()]) == (
        1,
        ["tokenizers.bpe", "sources.prose", "sources.code"],
    )


def test_check_of_several_files_is_1_when_one_is_wrong_and_tells_of_each(run: Ask) -> None:
    code, out, _ = run("competitions", "check", "broken.yaml", "small.yaml")
    assert (code, [name for name in ("broken.yaml:42", "small.yaml: right") if name not in out]) == (1, [])


def test_check_as_json_has_line_field_value_and_message(run: Ask) -> None:
    code, out, _ = run("competitions", "check", "broken.yaml", "small.yaml", "--json")
    broken, small = json.loads(out)
    assert (code, broken["valid"], broken["problems"][0], small["valid"], len(small["notes"])) == (
        1,
        False,
        {
            "line": 42,
            "field": "competitions.prose.windows",
            "value": "0",
            "message": POSITIVE,
        },
        True,
        3,
    )


def test_show_names_what_is_in_force_and_what_the_sync_window_judges(run: Ask) -> None:
    code, out, _ = run("competitions", "show", "small.yaml", "--block", "219")
    wanted = [
        "block 219: the phase from block 200, with no phase after it",
        "sync window from block 210: judges mixed (id 1)",
        "mixed (id 1): 0.5 of the subnet's weight",
        "0.15 by text_loss on code: stdlib-code at unpinned",
        "linear 0.01 to 0.003 over 600 blocks",
        "paired sd 0.01, 3 standard errors 0.0015; end is above",
        "near below 0.002 by losses or 0.05 by weights: reported",
    ]
    assert (code, [part for part in wanted if part not in out]) == (0, [])


def test_show_folds_long_values_to_the_width_of_a_terminal_and_drops_nothing(
    run: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    _, out, _ = run("competitions", "show", "small.yaml", "--block", "100", "--json")
    digest = json.loads(out)["competitions"][0]["digest"]
    _, out, _ = run("competitions", "show", "small.yaml", "--block", "100")
    table = out[out.index("prose (id 0):") :].splitlines()[1:]
    shown = "".join(line[len("  parameters  ") :].strip() for line in table)
    assert (max(map(len, table)), shown.startswith(digest)) == (40, True)


def test_show_of_a_fixed_epsilon_says_so(run: Ask) -> None:
    text = changed("{kind: linear, start: 0.01, end: 0.003, blocks: 600}", "{kind: fixed, end: 0.003}")
    Path("fixed.yaml").write_text(text, encoding="utf-8")
    _, out, _ = run("competitions", "show", "fixed.yaml", "--block", "100")
    assert "  epsilon     fixed 0.003\n" in out


def test_show_as_json_holds_the_facts(run: Ask) -> None:
    code, out, _ = run("competitions", "show", "small.yaml", "--block", "205", "--json")
    facts = json.loads(out)
    mixed = facts["competitions"][1]
    assert (code, facts["sync_block"], facts["judged"], facts["phase_start"], facts["next_phase_start"]) == (
        0,
        200,
        "prose",
        200,
        None,
    )
    assert (mixed["windows"], mixed["tasks"]["code"]["source"]["kind"], mixed["above_noise"], len(mixed["digest"])) == (
        400,
        "stdlib-code",
        True,
        64,
    )


def test_show_before_the_first_phase_is_1(run: Ask) -> None:
    code, out, _ = run("competitions", "show", "small.yaml", "--block", "5")
    assert (code, out.splitlines()[1]) == (1, "block 5: nothing is in force; the first phase starts at block 100")


def test_show_says_that_a_window_which_began_before_the_first_phase_judges_nothing(run: Ask) -> None:
    (Path("late.yaml")).write_text(changed("start: 100", "start: 105"), encoding="utf-8")
    _, out, _ = run("competitions", "show", "late.yaml", "--block", "107")
    assert "sync window from block 100: judges nothing: no phase has begun there" in out


def test_diff_of_a_file_written_otherwise_is_0(run: Ask) -> None:
    assert run("competitions", "diff", "small.yaml", "rewritten.yaml") == (
        0,
        "small.yaml and rewritten.yaml do the same\n",
        "",
    )


def test_diff_names_the_field_its_values_and_its_blocks(run: Ask) -> None:
    assert run("competitions", "diff", "small.yaml", "wider.yaml") == (
        1,
        "from block 200\n  competition 1 (mixed).windows  400 -> 500\n",
        "",
    )


def test_diff_says_what_is_added_and_what_is_removed(run: Ask) -> None:
    text = changed("weights: {min_weight: 0.001}", "weights: {min_weight: 0.001, burn: 0.1, burn_uid: 0}")
    Path("burning.yaml").write_text(text.replace("start: 200", "start: 300"), encoding="utf-8")
    _, out, _ = run("competitions", "diff", "small.yaml", "burning.yaml")
    assert out == (
        "at every block\n"
        "  weights.burn      0.0 -> 0.1\n"
        "  weights.burn_uid  added: 0\n"
        "from block 200 until 299\n"
        "  competition 0 (prose).share  0.5 -> 1.0\n"
        "  competition 1 (mixed)        removed\n"
    )


def test_diff_as_json_holds_every_change(run: Ask) -> None:
    code, out, _ = run("competitions", "diff", "small.yaml", "wider.yaml", "--json")
    facts = json.loads(out)
    assert (code, facts["same"], facts["changes"]) == (
        1,
        False,
        [{"path": "competition 1 (mixed).windows", "old": 400, "new": 500, "start": 200, "end": None}],
    )


def test_schema_is_json_that_names_every_section(run: Ask) -> None:
    code, out, _ = run("competitions", "schema", "--json")
    assert (code, {"timing", "mixes", "phases"} - json.loads(out)["properties"].keys()) == (0, set())


def test_encode_and_decode_are_each_other_s_inverse_and_verify(run: Ask) -> None:
    bound = ["--digest", DIGEST, "--hotkey", HOTKEY]
    code, out, _ = run("commitment", "encode", "acme/model-1", REVISION, *bound, "--competition", "7")
    assert (code, out) == (0, TEXT + "\n")
    code, out, _ = run("commitment", "decode", TEXT, *bound, "--json")
    assert (code, json.loads(out)) == (
        0,
        {
            "namespace": "acme",
            "name": "model-1",
            "repo": "acme/model-1",
            "revision": REVISION,
            "secure_hash": SECURE,
            "competition": 7,
            "bytes": len(TEXT),
            "verifies": True,
        },
    )


def test_encode_as_json_says_how_many_bytes_it_takes(run: Ask) -> None:
    bound = ["--digest", DIGEST, "--hotkey", HOTKEY, "--competition", "7", "--json"]
    _, out, _ = run("commitment", "encode", "acme/model-1", REVISION, *bound)
    assert json.loads(out) == {"text": TEXT, "bytes": len(TEXT), "max_bytes": 128, "secure_hash": SECURE}


def test_a_text_copied_by_another_hotkey_does_not_verify_and_is_1(run: Ask) -> None:
    code, out, _ = run("commitment", "decode", TEXT, "--hotkey", OTHER, "--digest", DIGEST)
    assert (code, out.splitlines()[-1]) == (1, "verifies: no")


def test_decode_alone_shows_the_parts_and_claims_nothing(run: Ask) -> None:
    code, out, _ = run("commitment", "decode", TEXT)
    assert (code, "verifies" in out, "repo: acme/model-1" in out) == (0, False, True)
