"""Model: a trained encoder in use. NumPy in, NumPy out; any rate, unit and length."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nerula import signal as signals
from nerula.conform import conform
from nerula.contract import Contract
from nerula.cores import side_by_side
from nerula.errors import UsageError, refuse
from nerula.method import Method
from nerula.readers.names import STANDARD, canonical_lead, millivolts_per
from nerula.recording import Recording
from nerula.run import digest
from nerula.schema import Config

Array = NDArray[np.float32]
Prepared = tuple[Array, NDArray[np.bool_]]
BATCH = 32
"""Windows that are computed at once."""
GROUPED = 8
"""Batches that short recordings share."""


class Embedded(NamedTuple):
    """The windows of one recording."""

    z: Array
    """(windows, D)."""
    weight: Array
    """(windows,) share of valid samples; 0 where a window holds none."""

    def mean(self) -> Array:
        """The embedding of the recording: each window counts as much as it has valid samples."""
        mean: Array = (self.weight @ self.z / self.weight.sum()).astype(np.float32)
        return mean


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
        """
        recordings, many = _recordings(
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
        """
        recordings, many = _recordings(
            signal, rate, lead=lead, unit=unit, valid=valid, leads=leads
        )
        if many:
            raise UsageError("embed_windows takes one recording at a time.")
        return next(self.embed_recordings(recordings))

    def embed_recordings(self, recordings: Iterable[Recording]) -> Iterator[Embedded]:
        """Embed recordings as readers yield them, in their order, windows of many at a time."""
        return self.embed_prepared((one.x, one.valid) for one in map(self.prepare, recordings))

    def prepare(self, recording: Recording) -> Recording:
        """Bring a recording under the model's contract: its leads, rate and band."""
        return conform(self.suited(recording), self.contract)

    def suited(self, recording: Recording, lead: str | None = None) -> Recording:
        """A recording whose one lead goes by the name of the model's, where the model has one.

        That is the lead that was asked for; or the only one; or else the one of that name.
        """
        own = self.contract.leads
        if len(own) > 1:
            return recording
        if lead is None and len(recording.leads) == 1:
            lead = recording.leads[0]
        if lead is None or lead == own[0] or lead not in recording.leads:
            return recording
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
        for group in _grouped(pairs, self.window):
            cut = [_cut(x, valid, self.window, overlap) for x, valid in group]
            x = np.concatenate([windows for windows, _ in cut])
            valid = np.concatenate([windows for _, windows in cut])
            z = self._run(function, x, valid)
            weight = valid.any(axis=1).mean(axis=-1, dtype=np.float32)
            ends = np.cumsum([len(windows) for windows, _ in cut])[:-1]
            yield from map(Embedded, np.split(z, ends), np.split(weight, ends))

    def impute(
        self,
        signal: ArrayLike,
        rate: float,
        *,
        lead: str = "II",
        unit: str = "mV",
        valid: ArrayLike | None = None,
        leads: Sequence[str] | None = None,
    ) -> Array:
        """Fill the gaps of one recording: where it is NaN, or where `valid` is False.

        Returns an array of the same shape, at the same rate, in the same unit; what was measured
        is returned as it was given. The longer a gap, the less of it can be known.
        """
        recordings, many = _recordings(
            signal, rate, lead=lead, unit=unit, valid=valid, leads=leads
        )
        if many:
            raise UsageError("impute takes one recording at a time.")
        filled = self.fill(recordings[0]) / np.float32(millivolts_per(unit) or 1.0)
        given = np.asarray(signal, np.float32)
        measured = recordings[0].valid.reshape(given.shape)
        return np.where(measured, given, filled.reshape(given.shape)).astype(np.float32)

    def fill(self, recording: Recording) -> Array:
        """A recording's x in mV, its gaps filled; NaN in those of leads that the model lacks."""
        prepared = self.prepare(recording)
        rebuilt = self._rebuilt(prepared.x, prepared.valid)
        back = signals.resample(rebuilt, self.contract.rate, recording.rate)
        time = recording.x.shape[1]
        filled = np.where(recording.valid, recording.x, np.float32(np.nan))
        single = len(self.contract.leads) == len(recording.leads) == 1
        for row, lead in enumerate(recording.leads):
            if single or lead in self.contract.leads:
                one = back[0 if single else self.contract.leads.index(lead), :time]
                gap = ~recording.valid[row]
                filled[row, gap] = np.pad(one, (0, time - len(one)), "edge")[gap]
        return filled

    def _rebuilt(self, x: Array, valid: NDArray[np.bool_]) -> Array:
        """Fill the gaps of (leads, time) under the contract, from windows that overlap by half.

        Where two windows fill the same sample, the one that has it nearer its middle counts more.
        """
        length = self.window
        step = max(1, length // 2)
        windows, seen, starts = signals.windows(x, valid, length, step)
        inside = np.arange(length) < (x.shape[1] - starts)[:, None, None]
        needed = np.flatnonzero((~seen & inside).any(axis=(1, 2)))
        if not len(needed):
            return x
        rebuilt = self._run(self.method.reconstruct, windows[needed], seen[needed])
        weight = 1 - np.abs((np.arange(length) + 0.5) / (length / 2) - 1)
        total, share = np.zeros((2, len(x), int(starts[-1]) + length))
        for start, window in zip(starts[needed], rebuilt, strict=True):
            total[:, start : start + length] += weight * window
            share[:, start : start + length] += weight
        end = x.shape[1]
        filled = (total[:, :end] / np.maximum(share[:, :end], 1e-9)).astype(np.float32)
        return np.where(valid, x, filled)

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


def _recordings(
    signal: Any, rate: float, *, lead: str, unit: str, valid: Any, leads: Sequence[str] | None
) -> tuple[list[Recording], bool]:
    """What was given, as recordings; and whether it was many or one."""
    scale, names = _millivolts(unit), _names([lead] if leads is None else leads)
    if not (isinstance(rate, float | int | np.number) and 1 <= rate <= 100_000):
        raise refuse("rate-absurd", detail=f"{rate!r} Hz")
    if isinstance(signal, list | tuple) and len(signal) and np.ndim(signal[0]):
        arrays, many = [np.asarray(one, np.float32) for one in signal], True
    else:
        array = np.asarray(signal, np.float32)
        many = array.ndim > (1 if leads is None else 2)
        arrays = list(array) if many else [array]
    if not arrays:
        raise UsageError("There is no recording.")
    masks = [None] * len(arrays) if valid is None else list(valid) if many else [valid]
    if len(masks) != len(arrays):
        raise UsageError(f"{len(arrays)} signals with {len(masks)} masks of validity.")
    return [
        _recording(str(number), array * scale, mask, float(rate), names)
        for number, (array, mask) in enumerate(zip(arrays, masks, strict=True))
    ], many


def _recording(name: str, x: Array, valid: Any, rate: float, leads: tuple[str, ...]) -> Recording:
    measured = np.isfinite(x)
    if valid is not None:
        valid = np.asarray(valid)
        if valid.shape != x.shape or valid.dtype != np.bool_:
            raise UsageError(
                f"valid must be bool of shape {x.shape}, not {valid.dtype} {valid.shape}."
            )
        measured &= valid
    x, measured = np.atleast_2d(x), np.atleast_2d(measured)
    if x.ndim != 2 or len(x) != len(leads):
        raise UsageError(
            f"A signal of shape {x.shape} with {len(leads)} leads ({', '.join(leads)}).",
            "Give one lead as (time,), several as (leads, time) with leads=[...] naming the rows.",
        )
    return Recording(name, np.where(measured, x, np.float32(0)), rate, leads, measured)


def _millivolts(unit: str) -> np.float32:
    if (scale := millivolts_per(unit)) is None:
        raise refuse("unit-unknown", detail=unit)
    return np.float32(scale)


def _names(leads: Sequence[str]) -> tuple[str, ...]:
    known = {lead: canonical_lead(lead) for lead in leads}
    for lead, name in known.items():
        if name is None:
            raise UsageError(
                f"There is no lead {lead!r}.",
                f"Known are {', '.join(STANDARD)}, MLII and others; for a patch or a chest strap "
                "give the lead that it resembles.",
            )
    return tuple(name for name in known.values() if name)


def _cut(x: Array, valid: NDArray[np.bool_], length: int, overlap: float) -> Prepared:
    """Windows (count, leads, length) of one recording."""
    time = x.shape[1]
    if not overlap or time <= length:
        return signals.windows(x, valid, length)[:2]
    starts = np.append(np.arange(0, time - length, round(length * (1 - overlap))), time - length)
    return (
        np.stack([x[:, start : start + length] for start in starts]),
        np.stack([valid[:, start : start + length] for start in starts]),
    )


def _grouped(pairs: Iterable[Prepared], window: int) -> Iterator[list[Prepared]]:
    """Gather recordings until they fill some batches; a long one may be a group of its own."""
    group: list[Prepared] = []
    samples = 0
    for pair in pairs:
        group.append(pair)
        samples += pair[0].shape[1]
        if samples >= GROUPED * BATCH * window:
            yield group
            group, samples = [], 0
    if group:
        yield group
