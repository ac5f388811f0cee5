"""Model: a trained encoder in use. NumPy in, NumPy out; any rate, unit and length."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nerula import given, quality
from nerula import signal as signals
from nerula.conform import conform
from nerula.contract import Contract
from nerula.cores import side_by_side
from nerula.errors import UsageError, refuse
from nerula.leads import lacking
from nerula.method import Method
from nerula.quality import Quality
from nerula.recording import Recording
from nerula.run import digest
from nerula.schema import Config
from nerula.similar import Neighbours, Similar
from nerula.store import Store
from nerula.windowed import Embedded, Prepared, blended, cut, grouped, lead_rows

Array = NDArray[np.float32]
BATCH = 32
"""Windows that are computed at once."""
GROUPED = 8
"""Batches that short recordings share."""


class Model:
    """A trained encoder: `nerula.load` makes it."""

    def __init__(
        self,
        method: Method,
        contract: Contract,
        window: int,
        config: Config | None = None,
        *,
        bf16: bool = False,
    ) -> None:
        self.method = method.eval()
        self.contract, self.window, self.config, self.bf16 = contract, window, config, bf16
        held = next(chain(method.parameters(), method.buffers()), torch.empty(0))
        self._device = held.device
        self._neighbours: Neighbours | None = None

    def __repr__(self) -> str:
        leads = " ".join(self.contract.leads)
        return (
            f"Model({type(self.method).__name__}: {leads} at {self.contract.rate:g} Hz, "
            f"windows of {self.seconds:g} s)"
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that its embeddings depend on, as JSON values."""
        if self.config is None:
            method, arguments = type(self.method).__name__, {}
            tensors = digest(self.method.state_dict())
        else:
            method, arguments = self.config.method, self.config.arguments
            tensors = self.config.tensors
        return {
            "method": method,
            "arguments": arguments,
            "tensors": tensors,
            "window": self.window,
            "contract": self.contract.as_json(),
            "precision": "bf16" if self.bf16 else "fp32",
        }

    @property
    def seconds(self) -> float:
        """Length of a window."""
        return self.window / self.contract.rate

    @property
    def dimensions(self) -> int:
        """Values of an embedding."""
        if self.config is not None:
            return self.config.dimensions
        nothing = np.zeros((1, len(self.contract.leads), self.window), np.float32)
        return int(self._run(self.method.embed, nothing, nothing == 0).shape[1])

    def embed(
        self,
        signal: ArrayLike | Sequence[ArrayLike],
        rate: float,
        *,
        lead: str = "II",
        unit: str = "mV",
        valid: ArrayLike | Sequence[ArrayLike] | None = None,
        leads: Sequence[str] | None = None,
    ) -> Array:
        """Embed one recording or many.

        `signal` is one lead (time,), many recordings of one lead (N, time), or, with `leads`
        naming its rows, (leads, time) or (N, leads, time); or a list of such arrays of different
        lengths. What is NaN, or where `valid` of the same shape is False, is hidden from the
        encoder. A recording longer than the model's window is cut into windows, the last one
        padded, whose embeddings are averaged by their share of valid samples.

        Returns (D,) for one recording and (N, D) for many.

        >>> import nerula
        >>> x, rate = nerula.ecg()  # (1000,) mV
        >>> model = nerula.load("nerula-small")
        >>> model.embed(x, rate).shape
        (2256,)
        >>> model.embed([x, x[:700]], rate=250, lead="I").shape
        (2, 2256)
        """
        recordings, many = given.recordings(
            signal, rate, lead=lead, unit=unit, valid=valid, leads=leads
        )
        means = [windows.mean() for windows in self.embed_recordings(recordings)]
        return np.stack(means) if many else means[0]

    def embed_windows(
        self,
        signal: ArrayLike,
        rate: float,
        *,
        lead: str = "II",
        unit: str = "mV",
        valid: ArrayLike | None = None,
        leads: Sequence[str] | None = None,
    ) -> tuple[Array, Array]:
        """Embed every window of one recording: (windows, D), and their shares of valid samples.

        Windows follow each other without overlap from the start; each is `model.seconds` long.

        >>> import nerula, numpy as np
        >>> x, rate = nerula.ecg()
        >>> z, share = nerula.load("nerula-small").embed_windows(np.tile(x, 6), rate)
        >>> z.shape, share.shape
        ((6, 2256), (6,))
        """
        recording = given.one(
            "embed_windows", signal, rate, lead=lead, unit=unit, valid=valid, leads=leads
        )
        windows = next(self.embed_recordings([recording]))
        return windows.z, windows.weight

    def embed_recordings(self, recordings: Iterable[Recording]) -> Iterator[Embedded]:
        """Embed recordings as readers yield them, in their order, windows of many at a time."""
        return self.embed_prepared((one.x, one.valid) for one in map(self.prepare, recordings))

    def prepare(self, recording: Recording) -> Recording:
        """Bring a recording under the model's contract: its leads, rate and band."""
        return conform(self.suited(recording), self.contract)

    def suited(self, recording: Recording, lead: str | None = None) -> Recording:
        """A recording whose one lead goes by the name of the model's, where the model has one.

        That is the lead that was asked for, which has to be there; or the only one; or else the
        one of that name.
        """
        own = self.contract.leads
        if len(own) > 1:
            return recording
        if lead is None and len(recording.leads) == 1:
            lead = recording.leads[0]
        if lead is None or lead == own[0]:
            return recording
        if lead not in recording.leads:
            held = ", ".join(recording.leads)
            raise refuse("lead-missing", recording.path, f"it has {held}", lead)
        row = [recording.leads.index(lead)]
        return replace(recording, x=recording.x[row], valid=recording.valid[row], leads=own)

    def embed_prepared(
        self, pairs: Iterable[Prepared], overlap: float = 0.0
    ) -> Iterator[Embedded]:
        """Embed signals (leads, time) and their validity that obey the contract already.

        With an `overlap` each window of a long recording repeats that share of the one before,
        and the last one ends with the recording.
        """
        return self.per_window(self.method.embed, pairs, overlap)

    def per_window(
        self,
        function: Callable[[Tensor, Tensor], Tensor],
        pairs: Iterable[Prepared],
        overlap: float = 0.0,
    ) -> Iterator[Embedded]:
        """Apply a function like the method's `embed` to every window, as `embed_prepared` does."""
        for group in grouped(pairs, GROUPED * BATCH * self.window):
            parts = [cut(x, valid, self.window, overlap) for x, valid in group]
            x = np.concatenate([windows for windows, _ in parts])
            valid = np.concatenate([windows for _, windows in parts])
            z = self._run(function, x, valid)
            weight = valid.any(axis=1).mean(axis=-1, dtype=np.float32)
            absent = [lacking(self.contract.leads, seen) for _, seen in group]
            ends = np.cumsum([len(windows) for windows, _ in parts])[:-1]
            yield from map(Embedded, np.split(z, ends), np.split(weight, ends), absent)

    def decode_prepared(self, x: Array, valid: NDArray[np.bool_]) -> Array:
        """Rebuild all leads of a signal (leads, time) under the contract, measured or not."""
        return self._overlapping(x, valid, whole=True)

    def impute(
        self,
        signal: ArrayLike,
        rate: float,
        *,
        lead: str = "II",
        unit: str = "mV",
        valid: ArrayLike | None = None,
        leads: Sequence[str] | None = None,
        all_leads: bool = False,
    ) -> Array:
        """Fill the gaps of one recording: where it is NaN, or where `valid` is False.

        Returns an array of the same shape, at the same rate, in the same unit; what was measured
        is returned as it was given. The longer a gap, the less of it can be known.

        With `all_leads` a model of several returns (leads, time): its own leads in its order,
        `model.contract.leads`, made up where they were not given, and below them any others.

        >>> import nerula, numpy as np
        >>> x, rate = nerula.ecg()
        >>> x[300:340] = np.nan
        >>> filled = nerula.load("nerula-small").impute(x, rate)
        >>> filled.shape, bool(np.isfinite(filled).all())
        ((1000,), True)
        """
        recording = given.one(
            "impute", signal, rate, lead=lead, unit=unit, valid=valid, leads=leads
        )
        x = np.asarray(signal, np.float32)
        if all_leads:
            x = given.with_leads(recording.but(x=np.atleast_2d(x)), self.contract.leads).x
            recording = given.with_leads(recording, self.contract.leads)
        filled = self.fill(recording) / given.millivolts(unit)
        return np.where(recording.valid.reshape(x.shape), x, filled.reshape(x.shape))

    def reconstruct(
        self,
        signal: ArrayLike,
        rate: float,
        *,
        lead: str = "II",
        unit: str = "mV",
        valid: ArrayLike | None = None,
        leads: Sequence[str] | None = None,
    ) -> Array:
        """What the decoder makes of one recording throughout, not only in its gaps.

        Returns an array of the same shape, rate and unit as `signal`. How far it is from what was
        measured says how much the tokens keep; leads that the model does not know are NaN.

        >>> import nerula, numpy as np
        >>> x, rate = nerula.ecg()
        >>> rebuilt = nerula.load("nerula-small").reconstruct(x, rate)
        >>> rebuilt.shape, bool(np.corrcoef(x, rebuilt)[0, 1] > 0.9)
        ((1000,), True)
        """
        recording = given.one(
            "reconstruct", signal, rate, lead=lead, unit=unit, valid=valid, leads=leads
        )
        rebuilt = self._rebuilt(recording, whole=True) / given.millivolts(unit)
        return rebuilt.reshape(np.shape(signal))

    def quality(
        self,
        signal: ArrayLike,
        rate: float,
        *,
        lead: str = "II",
        unit: str = "mV",
        valid: ArrayLike | None = None,
        leads: Sequence[str] | None = None,
    ) -> Quality:
        """How far one recording can be trusted: an index from 0 to 1, and what was found by name.

        The same that `nerula check` looks for; `Quality.valid`, shaped as `signal`, is what is
        left when it is hidden, as `embed` hides it.

        >>> import nerula
        >>> x, rate = nerula.ecg()
        >>> x[300:500] = x[300]  # the electrode came off
        >>> score, findings, valid = nerula.load("nerula-small").quality(x, rate)
        >>> round(score, 1), [found.code for found in findings], int(valid.sum())
        (0.8, ['signal-flat'], 796)
        """
        said: dict[str, Any] = {"lead": lead, "unit": unit, "valid": valid, "leads": leads}
        marked = quality.mark(given.one("quality", signal, rate, doubted=False, **said))
        score = quality.index(marked.x, marked.valid, marked.rate)
        return Quality(score, marked.findings, marked.valid.reshape(np.shape(signal)))

    def similar(
        self,
        signal: ArrayLike | Sequence[ArrayLike],
        rate: float,
        store: Store | Path | str,
        k: int = 5,
        *,
        lead: str = "II",
        unit: str = "mV",
        valid: ArrayLike | Sequence[ArrayLike] | None = None,
        leads: Sequence[str] | None = None,
        embeddings: ArrayLike | None = None,
    ) -> Similar:
        """The `k` recordings of a store that are most like this one, or like each of many.

        Compared are embeddings, standardised by the store's, by their cosine; exactly, with every
        recording. The store's are computed once and kept beside it in STORE.embeddings, or given
        as `embeddings` (recordings, D), a row of NaN for what is not to be found.

        Returns names, rows and distances (1 - cosine), nearest first: (k,), or (N, k) for many.

        >>> import nerula
        >>> from pathlib import Path
        >>> from nerula.prepare import Options, make_store
        >>> make_store(nerula.sample.load(), Path("store"), Options(limit=50), quiet=True)
        >>> x, rate = nerula.ecg(5)
        >>> names, rows, distances = nerula.load("nerula-small").similar(x, rate, "store", k=3)
        >>> int(rows[0]), distances.shape, bool(distances[0] < 0.001)
        (5, (3,), True)
        """
        z = self.embed(signal, rate, lead=lead, unit=unit, valid=valid, leads=leads)
        if not isinstance(store, Store):
            store = Store.open(store)
        if (
            embeddings is not None
            or self._neighbours is None
            or self._neighbours.store.path != store.path
            or self._neighbours.store.digest != store.digest
        ):
            self._neighbours = Neighbours.of(self, store, embeddings)
        return self._neighbours.nearest(z, k)

    def fill(self, recording: Recording) -> Array:
        """A recording's x in mV, its gaps filled; NaN in those of leads that the model lacks."""
        if recording.valid.all():
            return recording.x.copy()
        return np.where(recording.valid, recording.x, self._rebuilt(recording))

    def _rebuilt(self, recording: Recording, *, whole: bool = False) -> Array:
        """Rebuild a recording where needed, or as a `whole`; at its rate, in mV."""
        prepared = self.prepare(recording)
        back = signals.resample(
            self._overlapping(prepared.x, prepared.valid, whole),
            self.contract.rate,
            recording.rate,
        )
        known, leads = self.contract.leads, recording.leads
        if len(known) == len(leads) == 1:
            leads = known
        return lead_rows(back, known, leads, recording.x.shape[1])

    def _overlapping(self, x: Array, valid: NDArray[np.bool_], whole: bool) -> Array:
        """Rebuild (leads, time) under the contract, from windows that overlap by half."""
        length = self.window
        step = max(1, length // 2)
        windows, seen, starts = signals.windows(x, valid, length, step)
        inside = np.arange(length) < (x.shape[1] - starts)[:, None, None]
        needed = np.flatnonzero((whole | ~seen & inside).any(axis=(1, 2)))
        if not len(needed):
            return x
        function = self._decoder("decode" if whole else "reconstruct")
        rebuilt = self._run(function, windows[needed], seen[needed])
        found = blended(rebuilt, starts[needed], x.shape[1])
        return found if whole else np.where(valid, x, found)

    def _decoder(self, name: str) -> Callable[[Tensor, Tensor], Tensor]:
        """The method's `decode` or `reconstruct`, where it has one of its own."""
        kind = type(self.method)
        if not any(getattr(kind, own) is not getattr(Method, own) for own in ("decode", name)):
            raise UsageError(
                f"{kind.__name__} has no reconstruction path.",
                "NERULA, Ti-MAE and modal have one, and so has the model nerula-small.",
            )
        function: Callable[[Tensor, Tensor], Tensor] = getattr(self.method, name)
        return function

    def _run(
        self, function: Callable[[Tensor, Tensor], Tensor], x: Array, valid: NDArray[np.bool_]
    ) -> Array:
        """Apply one of the method's functions to (windows, leads, time), a batch at a time."""

        def work(batch: slice) -> Tensor:
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self.bf16):
                given = (torch.from_numpy(part[batch]).to(self._device) for part in (x, valid))
                return function(*given).float()

        batches = (slice(start, start + BATCH) for start in range(0, len(x), BATCH))
        result: Array = torch.cat(side_by_side(work, batches, self._device)).cpu().numpy()
        return result
