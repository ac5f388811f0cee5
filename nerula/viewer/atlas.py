"""Atlas: a store's recordings as embeddings and as dots on a map, made in the background.

It begins when it is first asked for. A small part is embedded first, so that there is a map within
seconds; then the recordings of the full map, then the others, for neighbours. Of a store that is
too large to keep every embedding only the map's recordings are embedded, and only in memory.
"""

import logging
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nerula import plane
from nerula.errors import NerulaError
from nerula.features import Features, Whole
from nerula.leads import has_leads
from nerula.similar import Neighbours
from nerula.store import Store

if TYPE_CHECKING:
    from nerula.model import Model

FIRST, SHOWN, KEPT = 400, 3000, 100_000
"""Recordings on the first map and on the full one, and the most whose embeddings are kept."""
_PLACES = 4
"""Dots that may stay behind each other: below this no map is drawn."""


@dataclass(frozen=True)
class Progress:
    """How far the work is. `version` changes with every new map."""

    state: str = "idle"
    """idle, embedding, mapping, done or failed."""
    done: int = 0
    total: int = 0
    version: int = 0
    trouble: str = ""


@dataclass(frozen=True, eq=False)
class Map:
    """Rows of a store and where they lie, (x, y) in turn from 0 to 1000."""

    rows: NDArray[np.int64]
    principal: list[int]
    explained: float
    neighbours: list[int] | None = None
    """t-SNE, once it is there."""


class Stopped(Exception):  # noqa: N818 - nobody's mistake
    """The viewer is closing."""


class Atlas:
    """The embeddings of a store by one model."""

    def __init__(self, model: "Model", store: Store, folder: Path) -> None:
        """`folder` keeps embeddings for the next time."""
        held, own = store.contract.leads, model.contract.leads
        other = len(own) == 1 and len(held) > 1 and own[0] not in held
        self.only = held[:1] if other else ()
        """The lead that is embedded where the model's own is not there."""
        self._features = Features(model, store, Whole(), folder, self.only)
        self._store = store
        plan = self._features.plan  # refuses what does not fit
        measured = (store.column("valid") > 0) & (store.lengths > 0)
        if len(own) == 1:
            measured &= has_leads(store, plan.names)
        self._measured = np.flatnonzero(measured)
        self._progress = Progress()
        self._map: Map | None = None
        self._neighbours: Neighbours | None = None
        self._held = self._measured[:0], np.empty((0, 0), np.float32)
        self._lock, self._stop = Lock(), Event()
        self._thread: Thread | None = None

    @property
    def progress(self) -> Progress:
        """How far the work is."""
        return self._progress

    @property
    def map(self) -> Map | None:
        """The latest map, or None."""
        return self._map

    @property
    def neighbours(self) -> Neighbours | None:
        """What can be compared with so far, or None."""
        return self._neighbours

    @property
    def complete(self) -> bool:
        """Whether every recording is embedded in the end."""
        return len(self._measured) <= KEPT

    def start(self) -> None:
        """Begin, where that was not done already."""
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._run, name="nerula-atlas", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Give up what is not finished."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def embedding(self, row: int) -> NDArray[np.float32]:
        """(D,) of one recording: what is there already, or computed now."""
        rows, held = self._held
        place = int(np.searchsorted(rows, row))
        if place < len(rows) and rows[place] == row:
            known: NDArray[np.float32] = held[place]
            return known
        z: NDArray[np.float32] = self._features.fresh(np.array([row]), None, _silent)[0]
        return z

    def _run(self) -> None:
        try:
            self._work()
        except Stopped:
            return
        except (NerulaError, OSError, MemoryError) as error:
            self._say(state="failed", trouble=str(error))
        except Exception as error:
            logging.getLogger("nerula").exception("the map failed")
            self._say(state="failed", trouble=f"The map failed: {type(error).__name__}.")

    def _work(self) -> None:
        shown = self._sampled(SHOWN)
        rows, z = shown[:0], np.empty((0, 0), np.float32)
        for rows in self._stages(shown):
            z = self._embed(rows)
            self._held = rows, z
            self._neighbours = Neighbours(self._store, z, rows)
            if len(rows) <= len(shown):
                self._draw(rows, z)
        if self._map is None:
            self._say(state="failed", trouble="There are too few recordings for a map.")
            return
        self._say(state="mapping")
        found = plane.components(z[np.searchsorted(rows, shown)])
        layout = None if found is None else laid_out(found.places, self._stop)
        if layout is not None:
            self._map = replace(self._map, neighbours=plane.thousandths(layout))
        self._say(state="done", version=self._progress.version + 1)

    def _stages(self, shown: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Rows to embed, each time those of before and more."""
        total = len(self._measured) if self.complete else len(shown)
        self._say(state="embedding", total=total)
        few = shown[:: max(len(shown) // FIRST, 1)]
        yield few
        if len(shown) > len(few):
            yield shown
        if total > len(shown):
            yield self._measured

    def _sampled(self, count: int) -> NDArray[np.int64]:
        """Recordings evenly over the store."""
        held = self._measured
        places = np.linspace(0, len(held) - 1, min(count, len(held))).astype(np.int64)
        return held[np.unique(places)]

    def _embed(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        before = 0 if self._neighbours is None else len(self._neighbours.rows)
        self._say(state="embedding", done=before)
        if self.complete:
            z = self._features.of(rows, advance=self._advance)
        else:
            z = self._features.fresh(rows, None, self._advance)
        self._say(done=len(rows))
        return z

    def _advance(self, entries: int, *, done_before: bool = False) -> None:  # noqa: ARG002
        if self._stop.is_set():
            raise Stopped
        self._say(done=self._progress.done + entries)

    def _draw(self, rows: NDArray[np.int64], z: NDArray[np.float32]) -> None:
        found = plane.components(z) if len(rows) >= _PLACES else None
        if found is not None:
            self._map = Map(rows, plane.thousandths(found.places[:, :2]), found.explained)
            self._say(version=self._progress.version + 1)

    def _say(self, **changes: Any) -> None:
        self._progress = replace(self._progress, **changes)


def laid_out(places: NDArray[Any], stop: Event) -> NDArray[np.float64] | None:
    """`plane.neighbours` in a process of its own: it can be ended at once, and slows nobody."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_lay_out, args=(sender, places), daemon=True)
    process.start()
    sender.close()
    try:
        while not receiver.poll(0.1):
            if stop.is_set():
                raise Stopped
        found: NDArray[np.float64] | None = receiver.recv()
    except EOFError as error:
        raise NerulaError(
            "The t-SNE of the map ended early.", "Is there enough memory?"
        ) from error
    else:
        return found
    finally:
        process.terminate()
        process.join()


def _lay_out(sender: Connection, places: NDArray[Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the viewer, which ends this
    sender.send(plane.neighbours(places))


def _silent(entries: int, *, done_before: bool = False) -> None:
    """One recording needs no progress bar."""
