"""Write docs/benchmarks.md, every figure that was measured, from the JSON in results/."""

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"

HEAD = """# Benchmarks

What was measured, as it came out. `python -m benchmarks [NAME ...] [--data FOLDER] [--out FILE]`
measures again, `make bench` all of it; what is compared is measured in one run, on the same
inputs. `python -m tools.make_benchmarks_page` makes this page from the files in `results/`. What
the figures mean, and what did not work, is in [the log](log.md); what they come to with millions
of recordings, in [scale](scale.md).

| what is claimed | measured by | beside |
|---|---|---|
| files to a store | `preparing` | wfdb and scipy: read, band-pass, resample |
| batches from a store | `gathering` | one by one; how fast the page cache is copied |
| windows of attention, linear growth | `encoding` | dense attention; bare matrix products |
| training and embedding with NERULA | `training` | bare matrix products on the same threads |
| wav2vec at its published size | `wav2vec` | the same weights in torch's own layers |
| an embedding instead of hand-made features | `features` | NeuroKit's pipeline |
| a model on a device | `devices` | PyTorch; bare matrix products |
| filled gaps | `python -m benchmarks.imputing` | lines, splines, autoregression, beats |
| an SVC on embeddings | `probing` | scikit-learn's own kernel |
| a day of signal as a stream | `streaming` | real time |
| stores larger than memory | `scaling` | the same steps with all pages in memory |
| many at once | `viewing`, `crowd` | |
"""


def page() -> str:
    """Return the page as Markdown."""
    runs = [part for path in sorted((ROOT / "results").glob("bench*.json")) for part in _run(path)]
    return HEAD + "\n".join(runs) + "\n"


def _run(path: Path) -> Iterator[str]:
    """One run: where it comes from, then a table for each group."""
    run = json.loads(path.read_text(encoding="utf-8"))
    came = run["provenance"]
    yield f"\n## [{path.name}](../results/{path.name})\n"
    yield f"`{came['command']}`\n"
    versions = ", ".join(f"{name} {came[name]}" for name in ("python", "numpy", "torch", "wfdb"))
    commit = f"commit {came['commit'][:12]}" + (" with changes" if came["modified"] else "")
    load = came["load"][0]
    machine = f"{came['processor']}, {came['cores']} cores, load {load:g} at the end"
    yield f"{came['date']}, {machine}, {came['data']}; {versions}; {commit}."
    for group, figures in groupby(run["figures"], key=lambda one: one["group"]):
        yield f"\n| {_cell(group)} | | | |\n|---|---:|---|---|"
        yield from map(_row, figures)


def _row(figure: dict[str, Any]) -> str:
    cells = (figure["name"], _number(figure["value"]), figure["unit"], figure["note"])
    return "| " + " | ".join(_cell(str(cell)) for cell in cells) + " |"


def _number(value: float) -> str:
    """Four digits at most behind the first, none that mean nothing."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
