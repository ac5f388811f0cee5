"""Arrows point one way: the imports are read, not run, and compared with the drawing.

`docs/architecture.md` shows the rooms; `MAY_IMPORT` is the same picture as data.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "nerula"

GROUND = {"defects", "errors", "recording"}
NUMERIC = GROUND | {"addresses", "readers", "sample", "signal", "einthoven", "faults"}
NUMERIC |= {"quality", "leakage", "contract", "columns", "files", "store", "writer", "conform"}
LEARNING = {"precision", "together", "augment", "loss", "encoders", "method", "methods"}

# A room may import what it lists, and itself. A room is a module or a folder of the package.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "defects": set(),
    "errors": {"defects"},
    "recording": {"defects"},
    "addresses": {"errors"},
    "readers": GROUND | {"addresses", "sample"},
    "transfer": {"addresses", "errors", "store", "workplace"},
    "vectors": {"files", "workplace"},
    "sample": GROUND | {"readers"},
    "signal": GROUND,
    "einthoven": set(),
    "faults": set(),
    "quality": GROUND | {"einthoven", "faults"},
    "leakage": GROUND,
    "contract": GROUND,
    "leads": {"errors", "readers", "store"},
    "files": set(),
    "typed": set(),
    "columns": set(),
    "store": GROUND | {"contract", "columns", "files"},
    "writer": GROUND | {"contract", "columns", "files", "store"},
    "conform": GROUND | {"contract", "quality", "signal"},
    "chunks": GROUND | {"conform", "contract", "files", "readers", "store", "writer"},
    "workers": GROUND,
    "engines": GROUND | {"workers"},
    "workplace": GROUND | {"contract", "files", "store", "writer"},
    "summary": {"store", "workplace"},
    "survey": GROUND
    | {"addresses", "chunks", "quality", "readers", "store", "engines", "transfer"},
    "verdict": {"defects", "leakage", "survey"},
    "plot": GROUND,
    "plane": set(),
    "fetch": GROUND | {"archive", "download", "publishers"},
    "archive": GROUND | {"files"},
    "download": GROUND | {"__init__"},
    "publishers": set(),
    "precision": set(),
    "together": {"precision"},
    "augment": {"together"},
    "loss": {"precision", "together"},
    "encoders": {"augment", "errors", "precision", "together"},
    "bounds": {"errors"},
    "brought": set(),
    "method": {"bounds"},
    "methods": {"errors", "augment", "bounds", "loss", "encoders", "method", "precision"}
    | {"together"},
    "options": {"bounds", "errors"},
    "ranks": {"errors", "precision", "together"},
    "machine": {"cores", "errors", "options", "workers"},
    "cores": {"errors", "workers"},
    "batches": {"errors", "leads", "method", "options", "store"},
    "run": {"errors", "files"},
    "train": {"batches", "errors", "loss", "method", "options", "ranks", "run"},
    "display": set(),
    "schema": {"contract", "errors", "files"},
    "cards": {"errors", "files", "publishers", "schema"},
    "census": {"judgement", "store"},
    "hub": {"__init__", "errors", "schema"},
    "given": NUMERIC,
    "windowed": NUMERIC,
    "similar": {"errors", "features", "store"},
    "model": NUMERIC
    | {"cores", "given", "leads", "method", "run", "schema", "similar", "windowed"},
    "bundle": NUMERIC
    | {
        "__init__",
        "brought",
        "cards",
        "cores",
        "hub",
        "method",
        "methods",
        "model",
        "options",
        "run",
    }
    | {"schema"},
    "sklearn": GROUND | {"bundle", "given", "model"},
    "tuned": {"bundle", "encoders", "errors", "leads", "method", "methods", "model", "portable"}
    | {"schema", "store", "together"},
    "epochs": {"methods", "model", "store", "tuned"},
    "finetune": {
        "batches",
        "census",
        "contract",
        "epochs",
        "errors",
        "leads",
        "machine",
        "method",
        "methods",
    }
    | {"model", "options", "run", "store", "train", "tuned", "typed"},
    "tuning": {"features", "finetune", "ground", "schema", "tasks", "tuned"},
    "challenge_score": set(),
    "tasks": GROUND | {"store", "challenge_score"},
    "metrics": {"challenge_score"},
    "bootstrap": {"metrics"},
    "gaps": {"signal"},
    "fewer": set(),
    "guards": GROUND | {"leakage", "tasks"},
    "forms": set(),
    "estimators": {"forms"},
    "portable": {"__init__", "errors", "files", "forms"},
    "probes": {"errors", "estimators", "forms", "metrics", "portable"},
    "features": {
        "errors",
        "files",
        "gaps",
        "leads",
        "model",
        "run",
        "signal",
        "store",
        "summary",
        "tasks",
    },
    "across": {"errors", "plot", "store", "tasks"},
    "likeness": set(),
    "judgement": {"bootstrap", "metrics", "tasks"},
    "results": {"bootstrap", "errors", "files", "metrics"},
    "blend": {"forms", "metrics"},
    "ground": {
        "__init__",
        "blend",
        "bootstrap",
        "bounds",
        "errors",
        "features",
        "guards",
        "judgement",
        "leads",
        "typed",
    }
    | {"metrics", "model", "probes", "results", "store", "tasks"},
    "recognise": {"errors", "features", "finetune", "gaps", "ground", "leads", "likeness"}
    | {"metrics", "results", "tasks"},
    "evaluate": {"across", "blend", "bootstrap", "errors", "features", "fewer", "gaps"}
    | {"ground", "judgement", "metrics", "model", "probes", "recognise", "results", "store"}
    | {"tasks", "tuning"},
    "comparison": {"__init__", "batches", "bootstrap", "bundle", "errors", "evaluate", "files"}
    | {
        "ground",
        "guards",
        "leads",
        "machine",
        "method",
        "methods",
        "metrics",
        "options",
        "probes",
        "readers",
        "results",
        "store",
        "tasks",
    }
    | {"bounds", "writer"},
    "report": GROUND
    | {"__init__", "bundle", "cards", "comparison", "features", "files", "gaps", "leads"}
    | {"method", "plane", "prepare", "publishers", "results", "run", "sample", "schema", "signal"}
    | {"store", "tasks", "typed"},
    "viewer": GROUND
    | {"__init__", "features", "leads", "plane", "portable", "quality", "readers", "signal"}
    | {"similar", "store"},
    "searching": {
        "batches",
        "bounds",
        "errors",
        "guards",
        "method",
        "model",
        "options",
        "plot",
        "store",
        "tasks",
    }
    | {"windowed"},
    "search": GROUND
    | {"bundle", "method", "methods", "options", "pretrain", "searching", "store"}
    | {"completion", "files"},
    "onnx": GROUND
    | {"bootstrap", "encoders", "method", "methods", "metrics", "model", "portable", "sample"}
    | {"signal"},
    "embedding": {"addresses", "chunks", "defects", "engines", "errors", "leads", "readers"}
    | {"recording", "store", "summary", "transfer", "vectors", "windowed"},
    "streaming": NUMERIC | {"given", "model", "portable"},
    "completion": {"brought", "comparison", "methods", "readers", "tasks"},
    "method_line": {"completion", "methods", "options", "pretrain"},
    "cli": {"__init__", "errors", "defects", "methods"},
    "__main__": {"cli"},
}
VERBS = {"check", "prepare", "merge", "demo", "pretrain", "embed", "impute", "probe", "compare"}
VERBS |= {"predict", "report", "export", "search", "view", "stream", "copy"}

TORCH_FREE = NUMERIC | {"leads", "plot", "cli", "__init__", "check", "prepare", "merge"}
TORCH_FREE |= {"copy", "transfer", "vectors", "fetch", "archive", "download", "publishers"}
TORCH_FREE |= {"chunks", "workers", "engines", "workplace", "summary", "survey", "verdict"}
TORCH_FREE |= {"options", "schema", "cards", "display", "embed", "embedding", "impute"}
TORCH_FREE |= {"predict"}
TORCH_FREE |= {"tasks", "metrics", "bootstrap", "gaps", "fewer", "guards", "probes", "features"}
TORCH_FREE |= {"across", "blend"}
TORCH_FREE |= {
    "judgement",
    "results",
    "ground",
    "recognise",
    "evaluate",
    "tuning",
    "probe",
    "comparison",
    "compare",
    "report",
}
TORCH_FREE |= {"forms", "estimators", "portable", "given", "windowed", "similar", "sklearn"}
TORCH_FREE |= {"census", "hub", "push", "card", "plane", "view", "viewer"}
TORCH_FREE |= {"streaming", "stream", "export", "bounds", "brought", "completion", "method_line"}
NO_FILES = LEARNING - {"methods"}
BANNED = {"pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve", "pandas", "mne"}


def rooms() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found.setdefault(parts[0], []).append(path)
    return found


def imported(path: Path) -> set[str]:
    """Absolute names of everything a file imports, wherever in the file (not for typing only)."""
    names: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(name: str) -> str | None:
    parts = name.split(".")
    if parts[0] != "nerula":
        return None
    if len(parts) == 1:
        return "__init__"
    known = (PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").exists()
    return parts[1] if known else "__init__"


@pytest.mark.parametrize("room", sorted(set(rooms()) & set(MAY_IMPORT)))
def test_a_room_imports_only_what_the_drawing_allows(room: str) -> None:
    seen = {
        target for path in rooms()[room] for name in imported(path) if (target := room_of(name))
    }
    assert seen - {room} <= MAY_IMPORT[room], f"{room} must not know {seen - MAY_IMPORT[room]}"


def test_no_room_but_the_command_line_knows_a_verb() -> None:
    for room, paths in rooms().items():
        if room in VERBS or room in {"cli", "demo", "method_line"}:
            continue
        for path in paths:
            seen = {room_of(name) for name in imported(path)} & (VERBS - {"embed"})
            assert not seen, f"{path.name} imports the verb {seen}"


@pytest.mark.parametrize("room", sorted(set(rooms()) & TORCH_FREE))
def test_reading_and_preparing_never_need_torch(room: str) -> None:
    for path in rooms()[room]:
        assert not {name for name in imported(path) if name.split(".")[0] == "torch"}, path


@pytest.mark.parametrize("room", sorted(set(rooms()) & NO_FILES))
def test_learning_blocks_touch_no_files(room: str) -> None:
    for path in rooms()[room]:
        outside = {name.split(".")[0] for name in imported(path)}
        assert not outside & {"pathlib", "os", "io", "json", "argparse", "rich", "cyclopts"}, path


def test_nothing_that_runs_code_from_data_or_was_left_out_on_purpose() -> None:
    for paths in rooms().values():
        for path in paths:
            assert not {name.split(".")[0] for name in imported(path)} & BANNED, path
            calls = {
                ast.unparse(node.func)
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Call)
            }
            assert not calls & {"eval", "exec", "torch.load", "yaml.load", "os.system"}, path


def test_every_file_is_one_thing() -> None:
    long = {
        str(path.relative_to(PACKAGE)): lines
        for paths in rooms().values()
        for path in paths
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long


def _modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(run.stdout.split())


def test_importing_nerula_imports_neither_torch_nor_numpy() -> None:
    assert not _modules_after("import nerula") & {"torch", "numpy", "scipy", "matplotlib"}


def test_help_imports_no_heavy_library() -> None:
    seen = _modules_after("from nerula.cli import build; build().help_print([])")
    assert not seen & {"torch", "numpy", "scipy", "matplotlib", "pyarrow"}
