"""What the package must not even contain: everything that turns data into code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent.parent / "nerula"
MODULES = {"pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve", "imp", "telnetlib"}
CALLS = {
    "eval", "exec", "compile", "__import__", "torch.load", "torch.save", "torch.hub.load",
    "yaml.load", "yaml.unsafe_load", "os.system", "os.popen", "subprocess.getoutput",
    "np.frompyfunc", "pandas.read_pickle", "shelve.open",
}  # fmt: skip
FLAGS = {
    ("shell", True),
    ("allow_pickle", True),
    ("weights_only", False),
    ("resolve_entities", True),
}


def offences(source: str) -> Iterator[str]:
    """Yield every banned import, call and flag of a source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in CALLS:
                yield name
            for keyword in node.keywords:
                given = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if (keyword.arg, given) in FLAGS:
                    yield f"{keyword.arg}={given}"
            if name in ("np.load", "numpy.load"):
                flags = {keyword.arg for keyword in node.keywords}
                if "allow_pickle" not in flags:
                    yield "np.load that does not say allow_pickle=False"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_nothing_in_the_package_turns_data_into_code(path: Path) -> None:
    assert not list(offences(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "eval('1')", "torch.load(path)",
        "yaml.load(text)", "subprocess.run(words, shell=True)", "np.load(p, allow_pickle=True)",
        "np.load(p)", "os.system('ls')", "import marshal as m",
    ],
)  # fmt: skip
def test_the_ban_notices(source: str) -> None:
    assert list(offences(source))
