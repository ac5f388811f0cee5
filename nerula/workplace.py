"""Workplace: the folder of a store that is being made, until everything is whole.

Whatever is unfinished lies in `STORE/unfinished/`. The store's own files are moved out of it at
the end, `store.json` last: a folder with `store.json` is a store, one without is not.
"""

import csv
import io
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from nerula.contract import Contract
from nerula.errors import NerulaError, UsageError
from nerula.files import alone, load_json, replacing, write_whole
from nerula.store import INDEX, SIGNALS, TABLE, VALIDITY, read_facts
from nerula.writer import StoreWriter

UNFINISHED, PLAN, QUARANTINE = "unfinished", "plan.json", "quarantine.csv"
REFUSAL = ("name", "path", "code", "lead", "detail", "remedy")
"""The columns of quarantine.csv."""
_MOVED = (SIGNALS, VALIDITY, TABLE, QUARANTINE, INDEX)  # in this order


@dataclass(frozen=True, slots=True)
class Workplace:
    """A claimed folder."""

    store: Path

    @property
    def folder(self) -> Path:
        """Where unfinished things lie."""
        return self.store / UNFINISHED

    def plan(self) -> dict[str, Any] | None:
        """What an interrupted run wanted to do here."""
        path = self.folder / PLAN
        if not path.exists():
            return None
        try:
            plan: dict[str, Any] = load_json(path)
        except ValueError as error:
            raise NerulaError(
                f"{path} is damaged.", f"Delete {self.store} and start again."
            ) from error
        return plan

    def keep_plan(self, plan: Mapping[str, Any]) -> None:
        """Remember what is being done, for a run that continues."""
        write_whole(self.folder / PLAN, json.dumps(plan, indent=2) + "\n")

    def sign(self) -> str:
        """Leave a file of a new name, by which other machines know the folder; return the name."""
        name = f"here-{uuid4().hex}"
        (self.folder / name).touch()
        return name

    def publish(
        self,
        contract: Contract,
        facts: Mapping[str, Any],
        parts: Iterable[tuple[pa.RecordBatch, Sequence[Sequence[str]]]],
    ) -> None:
        """Join parts in order, and move the result to where a store is expected."""
        joined = self.folder / "joined"
        shutil.rmtree(joined, ignore_errors=True)
        joined.mkdir()
        with replacing(joined / QUARANTINE) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
            quarantine = csv.writer(text, lineterminator="\n")
            quarantine.writerow(REFUSAL)
            with StoreWriter(joined, contract, facts) as writer:
                for batch, refused in parts:
                    writer.append(batch)
                    quarantine.writerows(refused)
            text.detach()
        for name in _MOVED:
            (joined / name).replace(self.store / name)
        self.clear()

    def sweep(self) -> None:
        """Remove files that a process had just begun to write when it was ended."""
        for partial in self.folder.rglob("*.partial"):
            partial.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove everything unfinished."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def claimed(store: Path) -> Iterator[Workplace]:
    """Claim a folder for making a store: new, empty, or left by an interrupted run."""
    _refuse_foreign(store)
    workplace = Workplace(store)
    workplace.folder.mkdir(parents=True, exist_ok=True)
    busy = UsageError(f"Another process is preparing {store} right now.")
    with alone(workplace.folder / "lock", busy):
        try:
            workplace.sweep()
            yield workplace
        finally:
            workplace.sweep()


def finished(store: Path) -> dict[str, Any] | None:
    """The facts of a finished store in this folder, or None."""
    if not (store / INDEX).exists():
        return None
    facts = read_facts(store)
    Workplace(store).clear()  # an earlier run may have been stopped while it tidied up
    return facts


def _refuse_foreign(store: Path) -> None:
    if store.is_dir():
        held = {path.name for path in store.iterdir()}
        if held <= {UNFINISHED} or (store / UNFINISHED / PLAN).exists():
            return
        what = "holds other files"
    elif store.exists() or store.is_symlink():
        what = "is a file"
    else:
        return
    raise UsageError(f"{store} {what}; nothing was written.", "Name a new folder for the store.")
