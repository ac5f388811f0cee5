"""Write docs/benchmarks.md from the JSON that `python -m benchmarks` has kept in results/."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
FIRST = "bench.json"

HEAD = """# Benchmarks

`tools/make_benchmarks_page.py` makes this page from `results/bench*.json`; `make bench`, or
`python -m benchmarks NAME`, measures your machine. Each prints ours and the alternative in one
run, on the same inputs. Machines differ and are noisy: compare what stands in one table.

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
| a day of signal as a stream | `streaming` | real time |
| stores larger than memory | `scaling` | the same steps with all pages in memory |
| many at once | `viewing`, `crowd` | |
"""


def page() -> str:
    """Return the page as Markdown."""
    paths = sorted((ROOT / "results").glob("bench*.json"), key=lambda p: (p.name != FIRST, p.name))
    return "\n".join([HEAD, *(_section(path) for path in paths)])


def _section(path: Path) -> str:
    kept = json.loads(path.read_text(encoding="utf-8"))
    origin, figures = kept["provenance"], kept["figures"]
    cores = f"{origin['cores']} cores"
    load = ", ".join(f"{one:g}" for one in origin["load"])
    changed = ", with changes" if origin["modified"] else ""
    command = origin["command"].split(" --out")[0]
    parts = [
        f"## `{command}`\n",
        f"[{path.name}](../results/{path.name}), {origin['date']}, {origin['processor']}, "
        f"{cores}, load before it {load}, torch {origin['torch']}, on {origin['data']}, "
        f"commit {origin['commit'][:7]}{changed}.\n",
    ]
    for group in dict.fromkeys(figure["group"] for figure in figures):
        parts += [f"### {group[0].upper()}{group[1:]}\n", "| | | | |", "|---|---:|---|---|"]
        parts += [_row(figure) for figure in figures if figure["group"] == group]
        parts.append("")
    return "\n".join(parts)


def _row(figure: dict[str, Any]) -> str:
    digits = 0 if abs(figure["value"]) >= 100 else 2
    value = f"{figure['value']:,.{digits}f}"
    return f"| {figure['name']} | {value} | {figure['unit']} | {figure['note']} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
