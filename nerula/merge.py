"""`nerula merge`: shards of `prepare --shard i/n` to the store that one run would have made."""

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerula.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from nerula.store import Store


def merge(store: Path, shards: list[str | Path]) -> int:
    """Join the shards of `prepare --shard i/n` into one store.

    The result is the same, byte for byte, as a single run of `prepare` would have made.

    Parameters
    ----------
    store
        The folder to make.
    shards
        All n shards, in any order; folders or addresses.
    """
    from nerula import summary, workplace
    from nerula.store import INDEX, Store
    from nerula.transfer import needed_store

    opened = _in_order([Store.open(needed_store(shard)) for shard in shards])
    if (store / INDEX).exists():
        raise UsageError(f"{store} is a finished store already.", "Name a new folder.")
    first = opened[0]
    if not any(map(len, opened)):
        raise UsageError("None of the shards holds a recording: there is nothing to merge.")
    with workplace.claimed(store) as place:
        place.keep_plan({"asked": {"merge": [held.digest for held in opened]}})
        facts = {"asked": first.facts["asked"], "source": first.facts["source"], "shard": None}
        place.publish(first.contract, facts, _interleaved(opened))
    summary.show(Store.open(store), found=first.facts["source"]["entries"])
    return 0


def _in_order(stores: Sequence["Store"]) -> list["Store"]:
    """Sort the shards by number, once they are known to be all the shards of one preparation."""
    for store in stores:
        if not store.facts.get("shard"):
            raise UsageError(f"{store.path} is a whole store, not a shard.")
        for name in ("contract", "asked", "source"):
            if store.facts[name] != stores[0].facts[name]:
                raise UsageError(
                    f"{store.path} and {stores[0].path} are not of one preparation: "
                    f"{name} differs."
                )
    ordered = sorted(stores, key=lambda store: int(store.facts["shard"]["number"]))
    numbers = [store.facts["shard"]["number"] for store in ordered]
    wanted = list(range(1, stores[0].facts["shard"]["of"] + 1)) if stores else []
    if not stores or numbers != wanted:
        raise UsageError(f"Merging needs every shard once: {wanted} are wanted, {numbers} given.")
    return ordered


def _interleaved(stores: Sequence["Store"]) -> Iterator[tuple["pa.RecordBatch", list[list[str]]]]:
    """Deal the chunks out in the order of the source: one of each shard in turn."""
    shards = [_chunks(store) for store in stores]
    while True:
        for shard in shards:
            chunk = next(shard, None)
            if chunk is None:
                return
            yield chunk


def _chunks(store: "Store") -> Iterator[tuple["pa.RecordBatch", list[list[str]]]]:
    from nerula.workplace import QUARANTINE
    from nerula.writer import stored_batch

    begin = 0
    with (store.path / QUARANTINE).open(encoding="utf-8", newline="") as file:
        quarantine: Iterator[Any] = csv.reader(file)
        next(quarantine)
        for kept, refused in store.facts["shard"]["chunks"]:
            yield stored_batch(store, begin, kept), list(islice(quarantine, refused))
            begin += kept
