"""Run benchmarks, print their figures, and keep them with where they come from."""

import argparse
import json
import os
import pkgutil
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import benchmarks
from benchmarks import Figure, Setting
from nerula import cli
from nerula.files import write_whole

ROOT = Path(__file__).parent.parent
PACKAGES = ("numpy", "scipy", "pyarrow", "torch", "wfdb", "neurokit2", "onnxruntime")


def main() -> None:
    """Read the command line and run."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # before NumPy is imported: figures are per core
    for name, value in cli.ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    known = sorted(_modules())
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", default=known, help=f"of {', '.join(known)}")
    parser.add_argument("--data", type=Path, help="folder with real data sets: ptbxl, cinc2017")
    parser.add_argument("--quick", action="store_true", help="rough figures")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "bench.json")
    words = parser.parse_args()
    if unknown := set(words.names) - set(known):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    figures = list(_figures(words.names, words.data, words.quick))
    _show(figures)
    kept = {"provenance": _provenance(words), "figures": [asdict(figure) for figure in figures]}
    words.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(words.out, json.dumps(kept, indent=2) + "\n")
    Console().print(f"Written to {words.out}")


def _modules() -> dict[str, Any]:
    """Every module here that measures something."""
    found = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
    modules = {name: import_module(f"benchmarks.{name}") for name in found if name[0] != "_"}
    return {name: module for name, module in modules.items() if hasattr(module, "measure")}


def _figures(names: list[str], data: Path | None, quick: bool) -> Iterator[Figure]:
    modules = _modules()
    for name in names:
        Console(stderr=True).print(f"measuring {name} ...")
        with tempfile.TemporaryDirectory(prefix="nerula-bench-") as scratch:
            yield from modules[name].measure(Setting(Path(scratch), data, quick))


def _show(figures: list[Figure]) -> None:
    for group in dict.fromkeys(figure.group for figure in figures):
        table = Table(title=group, title_justify="left", title_style="bold")
        for title, side in (("what", "left"), ("figure", "right"), ("unit", "left"), ("", "left")):
            table.add_column(title, justify=side)  # type: ignore[arg-type]
        for figure in figures:
            if figure.group == group:
                digits = 0 if abs(figure.value) >= 100 else 2
                value = f"{figure.value:,.{digits}f}"
                table.add_row(figure.name, value, figure.unit, figure.note)
        Console().print(table)


def _provenance(words: argparse.Namespace) -> dict[str, Any]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "commit": _git("rev-parse", "HEAD"),
        "modified": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else [],
        "system": platform.platform(),
        "python": platform.python_version(),
        **versions,
        "data": "real data sets" if words.data else "files written from the bundled sample",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git(*words: str) -> str:
    try:
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    main()
