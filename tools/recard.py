"""Write a shipped model's cards again: `python tools/recard.py NAME STORE [RESULTS ...]`.

STORE is the very store that it was trained on, by its digest; from it comes who was learned from,
which models of before do not say. The tensors, what they are called and how they are used stay as
they are: only provenance, the digest of each tensor and the cards change; with `--pooling` also
how tokens are read out, which no weight depends on. RESULTS are documents of `nerula probe --out`,
or folders of them.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from nerula import bundle, cards
from nerula.batches import chosen_folds
from nerula.brought import WEIGHTS
from nerula.census import census
from nerula.files import write_whole
from nerula.leads import has_leads
from nerula.run import digests, read_tensors
from nerula.schema import TENSORS, Config
from nerula.store import Store

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Read the command line, compare, write config, cards and provenance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("store", type=Path)
    parser.add_argument("results", type=Path, nargs="*")
    parser.add_argument("--pooling", help="how the embedding is read out")
    words = parser.parse_args()
    folder, store = WEIGHTS / words.name, Store.open(words.store)
    config = Config.read(folder)
    if words.pooling:
        _read_out(folder, config, words.pooling)
        config = Config.read(folder)
    data = config.training["data"]
    if store.digest != data["store"]:
        raise SystemExit(f"{words.store} is not what {words.name} was trained on.")
    rows = _trained_on(store, config)
    if len(rows) != sum(data["folds"].values()):
        raise SystemExit(f"{len(rows)} recordings instead of {sum(data['folds'].values())}.")
    held = {"recordings": len(rows), **census(store, rows)}
    if config.training["options"]["leads"] == "any":
        held["leads"] = list(store.contract.leads)
    training = config.training | {"data": data | held}
    tensors, _ = read_tensors(folder / TENSORS)
    replace(config, training=training, each=digests(tensors)).write(folder)
    found = [
        path
        for one in words.results
        for path in (sorted(one.rglob("*.json")) if one.is_dir() else [one])
    ]
    cards.add_results(folder, found, words.name)
    bundle.load(words.name)
    made = ROOT / "results" / f"{words.name}.json"
    known = json.loads(made.read_text(encoding="utf-8")) | {"training": training}
    known |= {"arguments": config.arguments}
    write_whole(made, json.dumps(known, indent=1) + "\n")
    print(f"{folder}: {len(rows):,} recordings, {len(found)} results")
    return 0


def _read_out(folder: Path, config: Config, pooling: str) -> None:
    """The same tensors with another pooling of their tokens."""
    arguments = config.arguments | {"pooling": pooling}
    before, after = f"--pooling {config.arguments['pooling']}", f"--pooling {pooling}"
    command = config.training["command"].replace(before, after)
    training = config.training | {"command": command}  # which makes the same weights
    bundle.save(
        folder, bundle.load(folder).method, name=config.method, arguments=arguments,
        contract=config.contract, window=config.window, training=training, half=True,
    )  # fmt: skip


def _trained_on(store: Store, config: Config) -> np.ndarray:
    """The rows of its folds with its leads that are long enough, as `nerula.batches` has them."""
    options = config.training["options"]
    wanted = chosen_folds(store.column("fold"), options["folds"])
    wanted &= store.lengths > config.window / 2
    if options["leads"] != "any":
        wanted &= has_leads(store, config.contract.leads)
    return np.flatnonzero(wanted)


if __name__ == "__main__":
    sys.exit(main())
