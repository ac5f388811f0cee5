"""What the package must not even contain: everything that turns data into code.

Names are looked up through the imports, so that `from torch import load as read` is `torch.load`;
what is passed on without being called counts, too. This is for mistakes, not against a committer
who wants to deceive.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent.parent / "nerula"
BANNED = {
    # modules that unpickle, run or unpack
    "pickle", "_pickle", "pickletools", "joblib", "dill", "cloudpickle", "jsonpickle", "marshal",
    "shelve", "yaml", "ruamel", "runpy", "code", "codeop", "pty", "imp", "telnetlib", "tarfile",
    "builtins", "importlib.util", "importlib.machinery", "importlib.reload",
    "torch.load", "torch.save", "torch.jit", "torch.hub", "torch.package", "torch.serialization",
    "torch.export", "numpy.frompyfunc", "numpy.lib.format.read_array",
    # programs
    "os.system", "os.popen", "os.startfile", "os.posix_spawn", "os.posix_spawnp", "os.execl",
    "os.execle", "os.execlp", "os.execv", "os.execve", "os.execvp", "os.spawnl", "os.spawnv",
    "subprocess.getoutput", "subprocess.getstatusoutput", "shutil.unpack_archive",
    # parsers of XML that expand entities
    "lxml", "xml.sax", "xml.dom", "xml.etree.ElementTree.parse", "xml.etree.ElementTree.XML",
    "xml.etree.ElementTree.fromstring", "xml.etree.ElementTree.iterparse",
    "xml.etree.ElementTree.XMLParser", "xml.etree.ElementTree.XMLPullParser",
}  # fmt: skip
"""Whatever lies below these is banned with them."""
BUILTINS = {"eval", "exec", "compile", "__import__", "globals", "breakpoint", "__builtins__"}
METHODS = {
    "read_pickle", "to_pickle", "Unpickler", "unsafe_load", "full_load", "extractall",
    "extract", "__globals__", "__subclasses__", "__builtins__", "__loader__",
}  # fmt: skip
"""Of whatever object."""
FLAGS = {
    "shell": False, "allow_pickle": False, "weights_only": True, "resolve_entities": False,
    "forbid_entities": True, "forbid_external": True, "trust_remote_code": False,
}  # fmt: skip
"""The only value that an argument of this name may have."""
PICKLING = {"numpy.load", "numpy.save", "numpy.savez", "numpy.savez_compressed"}
"""These pickle objects unless they are told not to."""
BY_NAME = {"getattr", "setattr", "importlib.import_module"}
IMPORTERS = {PACKAGE / "__init__.py", PACKAGE / "methods" / "__init__.py"}
"""They import by a name in a variable: of a table in the same file, and the class of your own that
you name on the command line or in Python."""


def offences(source: str, importer: bool = False) -> Iterator[str]:
    """Yield every banned import, name, call and flag of a source."""
    tree = ast.parse(source)
    known = _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (name for name in _imported(node).values() if _banned(name))
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            name, last = _full(node, known), ast.unparse(node).rpartition(".")[2]
            if name.split(".")[0] in BUILTINS or _banned(name) or last in METHODS:
                yield name
        elif isinstance(node, ast.Call):
            yield from _of_call(node, _full(node.func, known), importer)


def _imported(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                known[one.asname or one.name.split(".")[0]] = (
                    one.name if one.asname else one.name.split(".")[0]
                )
                known[one.name] = one.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            known |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return known


def _full(node: ast.expr, known: dict[str, str]) -> str:
    """The dotted name of an expression, from where it was imported."""
    first, _, rest = ast.unparse(node).partition(".")
    first = known.get(first) or (first if first in BUILTINS | BY_NAME else f"local {first}")
    return f"{first}.{rest}".rstrip(".")


def _banned(name: str) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in BANNED)


def _of_call(node: ast.Call, name: str, importer: bool) -> Iterator[str]:
    flags = {keyword.arg: keyword.value for keyword in node.keywords}
    for flag, only in FLAGS.items():
        if flag in flags and getattr(flags[flag], "value", None) is not only:
            yield f"{flag}={ast.unparse(flags[flag])}"
    if name in PICKLING and "allow_pickle" not in flags:
        yield f"{name} that does not say allow_pickle=False"
    if name.startswith("subprocess.") and node.args and _is_text(node.args[0]):
        yield f"{name} of a line for a shell"
    if name in BY_NAME:
        text = node.args[0 if name.startswith("importlib") else 1]
        said = text.value if isinstance(text, ast.Constant) else ""
        last = {one.rpartition(".")[2] for one in BANNED} | BUILTINS | METHODS
        foreign = name.startswith("importlib") and not importer and not _ours(text)
        if said in last or _banned(said) or foreign:
            yield f"{name} of {ast.unparse(text)}"


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or isinstance(getattr(node, "value", None), str)


def _ours(node: ast.expr) -> bool:
    """Whether a module's name begins with the package's."""
    first = node.values[0] if isinstance(node, ast.JoinedStr) else node
    return isinstance(first, ast.Constant) and str(first.value).startswith("nerula.")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_nothing_in_the_package_turns_data_into_code(path: Path) -> None:
    assert not list(offences(path.read_text(encoding="utf-8"), path in IMPORTERS))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "eval('1')", "import torch; torch.load(path)",
        "import yaml; yaml.load(text)", "import subprocess; subprocess.run(words, shell=True)",
        "import numpy as np; np.load(p, allow_pickle=True)", "import numpy; numpy.load(p)",
        "import os; os.system('ls')", "import marshal as m",
        # the same by other names
        "from torch import load", "from torch import load as read", "import torch as t; t.load(p)",
        "from os import system as run", "import torch.jit", "from torch import jit",
        "from torch.jit import load", "import numpy as n; n.load(p)",
        "from numpy import load; load(p)",
        "from numpy import load; load(p, 'r', True)", "import numpy as np; np.load(p, **flags)",
        "import numpy as np; np.load(p, allow_pickle=flag)",
        "import numpy as np; np.savez(p, x=x)", "import _pickle as p",
        "from multiprocessing import reduction; reduction.pickle.Unpickler",
        # passed on
        "read = eval", "map(exec, lines)", "import torch; readers = {'pt': torch.load}",
        "__import__('pickle')", "__builtins__['eval']", "globals()['ev' + 'al']",
        "import builtins",
        "from importlib import import_module; import_module('pickle')",
        "from importlib import import_module; import_module(config['class'])",
        "import torch; getattr(torch, 'load')(p)", "import os; getattr(os, 'system')('ls')",
        "import importlib; importlib.import_module(name)", "from importlib import util",
        # programs, archives, XML
        "import subprocess; subprocess.run('rm -r ' + x, shell=flag)",
        "import subprocess; subprocess.run(f'ls {x}')", "from subprocess import getoutput",
        "import os; os.execv(p, words)", "import shutil; shutil.unpack_archive(p)",
        "archive.extractall(p)", "import tarfile", "import pandas as pd; pd.read_pickle(p)",
        "from xml.etree import ElementTree; ElementTree.fromstring(text)",
        "import xml.etree.ElementTree as ET; ET.parse(p)", "from lxml import etree",
        "import torch; from torch.serialization import load", "f.__globals__['os']",
    ],
)  # fmt: skip
def test_the_ban_notices(source: str) -> None:
    assert list(offences(source))
