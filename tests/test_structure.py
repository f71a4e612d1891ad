"""The house keeps its shape: who imports what, who builds what, and what nobody does."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = ("neurons/", "pretrain/localnet/", "pretrain/commands/")
"""Where collaborators are chosen: the daemons, the embedded subnet, and the commands of a person at a terminal."""

CORE = [
    "chain/__init__", "commitment", "competition", "data/__init__", "decision", "describe", "errors",
    "evaluate/__init__", "fingerprint", "hub/__init__", "judge", "node", "outcome", "ownership", "preview", "report",
    "reporting",
    "rules",
    "schedule", "scoring", "selection", "state", "step", "step_rules", "types",
]  # fmt: skip
OUTSIDE = {
    "bittensor", "datasets", "httpx", "httpx2", "huggingface_hub", "multiprocessing", "pyarrow", "requests",
    "safetensors", "shutil", "signal", "socket", "sqlite3", "subprocess", "tempfile", "tokenizers", "torch",
    "transformers", "urllib", "wandb",
}  # fmt: skip
STANDARD = {"multiprocessing", "shutil", "signal", "socket", "sqlite3", "subprocess", "tempfile", "urllib"}
"""Those that other libraries may load as they please."""
CORE_MODULES = {f"pretrain.{name.removesuffix('/__init__').replace('/', '.')}" for name in CORE}
PURE_MODULES = {
    "pretrain.canonical",
    "pretrain.evaluate.deadline",
    "pretrain.models.files",
    "pretrain.models.header",
    "pretrain.references",
    "pretrain.together",
}
"""What the core may import besides itself: functions that read a text, or a file they are given."""

HUB_CLIENT = tuple(f"pretrain/hub/{name}.py" for name in ("anonymous", "hub_errors", "huggingface", "upload"))
HTTP = (*HUB_CLIENT, "pretrain/hub/redirects.py")
BORDERS = {
    "bittensor": ("pretrain/chain/bittensor.py", "pretrain/wallet.py"),
    "bittensor_core": ("pretrain/chain/node/codec.py", "pretrain/chain/node/extrinsics.py"),
    "httpx2": HTTP,
    "huggingface_hub": HUB_CLIENT,
    "sqlite3": ("pretrain/memory.py", "pretrain/chain/"),
    "wandb": ("pretrain/tracking.py",),
    "websockets": ("pretrain/chain/text_socket.py", "pretrain/chain/node/"),
}
ADAPTERS = {"BittensorChain", "FolderHub", "HuggingFaceHub", "LocalChain", "ModelStore", "ProcessEvaluator", "Tracker"}


def sources(*folders: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py"))


PACKAGE = sources("pretrain")
EVERYTHING = sources("pretrain", "neurons", "scripts")


def parsed(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the dotted name of every module imported anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def dotted(node: ast.expr) -> str:
    """Return ``a.b.c`` of a chain of attributes, else the last name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def calls(tree: ast.Module) -> set[str]:
    return {dotted(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def broad_catches(tree: ast.Module) -> list[str]:
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    caught = [node.type.elts if isinstance(node.type, ast.Tuple) else [node.type] for node in handlers]
    names = [dotted(kind) if kind else "everything" for kinds in caught for kind in kinds]
    return [name for name in names if name in {"everything", "Exception", "BaseException"}]


@pytest.mark.parametrize("name", CORE)
def test_the_core_imports_itself_and_nothing_that_touches_the_outside(name: str) -> None:
    found = set(imported(parsed(f"pretrain/{name}.py")))
    own = {module for module in found if (ROOT / f"{module.replace('.', '/')}.py").exists()}

    assert {module.partition(".")[0] for module in found} & OUTSIDE == set()
    assert own - {"pretrain"} <= CORE_MODULES | PURE_MODULES


def test_importing_the_step_loads_no_library_of_the_outside() -> None:
    program = "import sys, pretrain.step; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())

    assert loaded & (OUTSIDE - STANDARD) == set()
    assert "sqlite3" not in loaded


@pytest.mark.parametrize("library", BORDERS)
def test_a_library_of_the_outside_stays_within_its_border(library: str) -> None:
    users = {path for path in EVERYTHING if library in {name.partition(".")[0] for name in imported(parsed(path))}}

    assert {path for path in users if not path.startswith(BORDERS[library])} == set()


def test_adapters_are_built_by_programs_alone() -> None:
    builders = {(path, name) for path in EVERYTHING for name in calls(parsed(path)) & ADAPTERS}

    assert {(path, name) for path, name in builders if not path.startswith(PROGRAMS)} == set()
    assert {name for _, name in builders} >= {
        "BittensorChain",
        "FolderHub",
        "LocalChain",
        "ModelStore",
        "ProcessEvaluator",
    }


def test_the_package_imports_no_program_that_uses_it() -> None:
    users = {path for path in PACKAGE if any(name.partition(".")[0] == "neurons" for name in imported(parsed(path)))}

    assert {path for path in users if not path.startswith(PROGRAMS)} == set()


@pytest.mark.parametrize("path", [path for path in EVERYTHING if not path.startswith("neurons/")])
def test_nobody_catches_everything(path: str) -> None:
    assert broad_catches(parsed(path)) == []


def test_what_catches_everything_is_noticed() -> None:
    text = "try:\n    f()\nexcept {}:\n    pass\n"
    kinds = ("Exception", "BaseException", "(ValueError, Exception)", "ValueError", "(KeyError, OSError)")

    assert [broad_catches(ast.parse(text.format(kind))) for kind in kinds] == [
        ["Exception"],
        ["BaseException"],
        ["Exception"],
        [],
        [],
    ]
    assert broad_catches(ast.parse(text.format("").replace(" :", ":"))) == ["everything"]


def test_no_module_is_named_after_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "base", "constants", "misc"}

    files = sources("pretrain", "neurons", "scripts", "tests")

    assert [path for path in files if {*Path(path).with_suffix("").parts} & vague] == []


@pytest.mark.parametrize("path", EVERYTHING)
def test_nothing_is_drawn_from_a_random_state_that_others_share(path: str) -> None:
    tree = parsed(path)
    seeded = {"np.random.default_rng", "numpy.random.default_rng", "np.random.Generator", "np.random.PCG64"}
    shared = ("np.random.", "numpy.random.", "torch.rand", "torch.manual_seed")
    drawn = {name for name in calls(tree) if name.startswith(shared)}

    assert not {"random", "numpy.random"} & set(imported(tree))
    assert drawn <= seeded
    unseeded = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and dotted(n.func) in seeded and not n.args]
    assert unseeded == []


@pytest.mark.parametrize("name", CORE)
def test_no_decision_of_the_core_rests_on_a_clock(name: str) -> None:
    clocks = {"time.time", "time.time_ns", "time.perf_counter", "datetime.now", "datetime.datetime.now", "date.today"}

    assert calls(parsed(f"pretrain/{name}.py")) & clocks == set()


@pytest.mark.parametrize("path", sources("pretrain", "neurons", "scripts", "tests"))
def test_nothing_is_left_to_do(path: str) -> None:
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X")

    assert [word for word in words if word in (ROOT / path).read_text()] == []


@pytest.mark.parametrize("path", PACKAGE)
def test_nothing_is_pickled(path: str) -> None:
    used = set(imported(parsed(path))) | calls(parsed(path))

    assert used & {"pickle", "dill", "cloudpickle", "shelve", "marshal", "torch.load", "torch.save"} == set()
