"""Filled: how a recording whose gaps were filled is written down, and where it was filled."""

import csv
import io
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.errors import MissingExtraError, UsageError
from nerula.files import replacing, write_whole

if TYPE_CHECKING:
    from nerula.recording import Recording

ENDINGS = (".csv", ".npy", ".hea")
MARKS = "filled"
"""Ending of the annotations that say which samples of a WFDB record were filled."""
STEPS, MOST = 1000.0, 32767
"""Of a signal of 16 bits: per mV, and in all; where these are not enough, steps are larger."""


class Gap(NamedTuple):
    """A stretch of a lead that was not measured: samples from `first` up to `last`."""

    lead: str
    first: int
    last: int


def gaps(recording: "Recording") -> list[Gap]:
    """Every stretch that was not measured, lead by lead, in order."""
    found = []
    for lead, valid in zip(recording.leads, recording.valid, strict=True):
        edges = np.flatnonzero(np.diff(np.concatenate([[True], valid, [True]]).astype(np.int8)))
        found += [Gap(lead, int(a), int(b)) for a, b in edges.reshape(-1, 2)]
    return found


def refuse(out: Path, file: Path) -> None:
    """Refuse a name that cannot be written to, before anything is computed."""
    if out.suffix not in ENDINGS:
        raise UsageError(f"{out} could be anything.", f"Give it an ending: {', '.join(ENDINGS)}.")
    spare(out, file)
    if out.suffix != ".hea":
        return
    if not re.fullmatch(r"[\w-]+", out.stem, re.ASCII):
        raise UsageError(
            f"{out.stem} cannot be the name of a WFDB record.",
            "Use letters, digits, - and _ alone.",
        )
    if out.with_suffix(".dat").exists() and not out.exists():
        raise UsageError(
            f"{out.with_suffix('.dat')} is there and belongs to something else.",
            "Name another record.",
        )
    with _wfdb():
        pass


def spare(out: Path, measured: Path) -> None:
    """Refuse to write over the file that holds what was measured."""
    new, old = out.resolve(), measured.resolve()
    if new == old or (out.suffix == ".hea" and new.with_suffix("") == old.with_suffix("")):
        raise UsageError(f"{out} is what was measured.", "Name another file to write to.")


@contextmanager
def _wfdb() -> Iterator[Any]:
    """The package that writes WFDB, without what pandas says to its developers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import wfdb
        except ImportError as error:
            raise MissingExtraError("Writing a WFDB record", "wfdb") from error
        yield wfdb


def write(out: Path, recording: "Recording", filled: NDArray[np.float32]) -> list[Path]:
    """Write it by the ending of `out`, and return what was written."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".hea":
        return _record(out, recording, filled)
    if out.suffix == ".npy":
        with replacing(out) as content:
            np.save(content, filled, allow_pickle=False)
    else:
        write_whole(out, _table(recording, filled))
    return [out]


def _table(recording: "Recording", filled: NDArray[np.float32]) -> str:
    """Time, each lead, and for each sample whether it was filled."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    leads = recording.leads
    table.writerow(["seconds", *leads, *(f"{lead} filled" for lead in leads)])
    for i, (values, measured) in enumerate(zip(filled.T, recording.valid.T, strict=True)):
        shown = ["" if np.isnan(value) else f"{value:.5g}" for value in values]
        flags = [int(not one and not np.isnan(v)) for one, v in zip(measured, values, strict=True)]
        table.writerow([f"{i / recording.rate:.10g}", *shown, *flags])
    return text.getvalue()


def _record(out: Path, recording: "Recording", filled: NDArray[np.float32]) -> list[Path]:
    """A WFDB record, and annotations at the first and the last filled sample of each gap."""
    leads = list(recording.leads)
    largest = np.nanmax(np.abs(filled), axis=1, initial=0.0)
    marks = sorted(
        (sample, leads.index(gap.lead), note)
        for gap in gaps(recording)
        if np.isfinite(filled[leads.index(gap.lead), gap.first])
        for sample, note in ((gap.first, "(filled"), (gap.last - 1, "filled)"))
    )
    suffixes = [".dat", f".{MARKS}"] if marks else [".dat"]
    temporary = tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.stem}.")
    with temporary as folder, _wfdb() as wfdb:
        wfdb.wrsamp(
            out.stem,
            fs=recording.rate,
            units=["mV"] * len(leads),
            sig_name=leads,
            p_signal=filled.T.astype(np.float64),
            fmt=["16"] * len(leads),
            adc_gain=[min(STEPS, MOST / max(one, 1e-6)) for one in largest.tolist()],
            baseline=[0] * len(leads),
            comments=[f"samples between marks of {out.stem}.{MARKS} are guesses"] * bool(marks),
            write_dir=folder,
        )
        if marks:
            samples, channels, notes = (list(column) for column in zip(*marks, strict=True))
            wfdb.wrann(
                out.stem,
                MARKS,
                np.array(samples),
                symbol=['"'] * len(marks),
                chan=np.array(channels),
                aux_note=notes,
                fs=recording.rate,
                write_dir=folder,
            )
        # The header last: who finds it finds the signal too.
        written = [out.with_suffix(suffix) for suffix in (*suffixes, ".hea")]
        for path in written:
            (Path(folder) / path.name).replace(path)
    if not marks:  # those of an earlier call say nothing of this signal
        out.with_suffix(f".{MARKS}").unlink(missing_ok=True)
    return written
