"""The verb `impute`: fill the gaps of a recording."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.completion import KindName, ModelName
from nerula.defects import warned
from nerula.errors import UsageError
from nerula.files import replacing, write_whole

if TYPE_CHECKING:
    from nerula.readers.source import Source
    from nerula.recording import Recording

RELIABLE = 1.2
"""Seconds. On held-out PTB-XL what nerula-small fills correlates with the truth by .74 at this
length and by .60 at 2 s (results/imputing.json): of longer gaps the rhythm may be known, the
beats in them are not."""
PICTURES = (".png", ".pdf", ".svg")
SHOWN = 10.0
"""Seconds of a long recording that the picture shows, around its longest gap."""


class Gap(NamedTuple):
    """A stretch of a lead that was not measured: samples from `first` up to `last`."""

    lead: str
    first: int
    last: int


def impute(
    model: ModelName,
    file: Path,
    out: Path,
    *,
    picture: Path | None = None,
    name: str | None = None,
    lead: str | None = None,
    kind: KindName = None,
    source_rate: float | None = None,
    source_unit: str | None = None,
    source_leads: str | None = None,
) -> int:
    """Fill the gaps of a recording: NaN, lead-off, flat and clipped stretches.

    What was measured stays as it is. What was not is rebuilt from what surrounds it; the longer
    a gap, the less of it can be known.

    Parameters
    ----------
    model
        Folder of a model or of a finished run, or the name of a model that Nerula brings along.
    file
        The recording, in any supported format.
    out
        OUT.csv (seconds, each lead in mV, and for each whether it was filled) or OUT.npy
        (leads, time) in mV.
    picture
        Draw measured and filled signal on ECG paper, into a .png, .pdf or .svg.
    name
        Which recording, where the file holds several.
    lead
        Which lead to give a model of one lead, where the recording has several.
    kind
        What the file is, such as "edf", where its content does not tell.
    source_rate
        Samples per second of a file that does not say.
    source_unit
        Unit of a file that does not say, such as "uV".
    source_leads
        Names of the signals, in their order, of a file that does not say.
    """
    from nerula import bundle, quality
    from nerula.readers import open_source
    from nerula.readers.names import split_names
    from nerula.readers.source import Hints

    if out.suffix not in (".csv", ".npy"):
        raise UsageError(f"{out} could be anything.", "Give it an ending: .csv or .npy.")
    if picture is not None and picture.suffix.lower() not in PICTURES:
        raise UsageError(
            f"{picture} is no picture that can be drawn.",
            f"Give it an ending: {', '.join(PICTURES)}.",
        )
    loaded = bundle.load(model)
    hints = Hints(source_rate, source_unit, split_names(source_leads))
    source = open_source(file, kind, hints)
    recording = quality.mark(_the_one(source, file, name))
    if lead is not None:
        recording = _only(recording, lead)
    own = loaded.contract.leads
    if len(recording.leads) > len(own) == 1 and own[0] not in recording.leads:
        raise UsageError(
            f"The model knows lead {own[0]}; {file} has {', '.join(recording.leads)}.",
            "Say with --lead which of them to fill.",
        )
    filled = loaded.fill(recording)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".npy":
        with replacing(out) as content:
            np.save(content, filled, allow_pickle=False)
    else:
        write_whole(out, _table(recording, filled))
    _say(recording, filled, file)
    written = [out]
    if picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        written.append(_draw(recording, filled, picture))
    _finish(model, file, written, guessed=not recording.valid.all())
    return 0


def gaps(recording: "Recording") -> list[Gap]:
    """Every stretch that was not measured, lead by lead, in order."""
    found = []
    for lead, valid in zip(recording.leads, recording.valid, strict=True):
        edges = np.flatnonzero(np.diff(np.concatenate([[True], valid, [True]]).astype(np.int8)))
        found += [Gap(lead, int(a), int(b)) for a, b in edges.reshape(-1, 2)]
    return found


def _the_one(source: "Source", file: Path, name: str | None) -> "Recording":
    """The recording that was asked for, or the only one."""
    entries = list(source.entries())
    chosen = [entry for entry in entries if name in (None, entry.name)]
    if len(chosen) != 1:
        held = ", ".join(entry.name for entry in entries[:5])
        more = ", ..." if len(entries) > 5 else ""
        raise UsageError(
            f"{file} holds {len(entries)} recordings" + (f", none named {name}." if name else "."),
            f"Choose one with --name: {held}{more}.",
        )
    return source.read(chosen[0])


def _only(recording: "Recording", lead: str) -> "Recording":
    from nerula.readers.names import canonical_lead

    wanted = canonical_lead(lead) or lead
    if wanted not in recording.leads:
        raise UsageError(f"There is no lead {lead}.", f"It has {', '.join(recording.leads)}.")
    row = [recording.leads.index(wanted)]
    return replace(recording, x=recording.x[row], valid=recording.valid[row], leads=(wanted,))


def _table(recording: "Recording", filled: NDArray[np.float32]) -> str:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    leads = recording.leads
    table.writerow(["seconds", *leads, *(f"{lead} filled" for lead in leads)])
    for i, (values, measured) in enumerate(zip(filled.T, recording.valid.T, strict=True)):
        shown = ["" if np.isnan(value) else f"{value:.5g}" for value in values]
        flags = [int(not one and not np.isnan(v)) for one, v in zip(measured, values, strict=True)]
        table.writerow([f"{i / recording.rate:.10g}", *shown, *flags])
    return text.getvalue()


def _draw(recording: "Recording", filled: NDArray[np.float32], picture: Path) -> Path:
    from nerula import figures

    found, rate = gaps(recording), recording.rate
    first, last = 0, recording.x.shape[1]
    if last > SHOWN * rate and found:
        longest = max(found, key=lambda gap: gap.last - gap.first)
        middle = (longest.first + longest.last) / 2 - SHOWN * rate / 2
        first = round(min(max(0.0, middle), last - SHOWN * rate))
    shown = slice(first, first + round(SHOWN * rate))
    rows = [
        (lead, recording.x[row, shown], recording.valid[row, shown], filled[row, shown])
        for row, lead in enumerate(recording.leads)
    ]
    start = f", from {first / rate:.1f} s" if first else ""
    title = f"{recording.name}{start}: measured (black), filled (blue)"
    return figures.filled(rows, rate, picture, title)


def _say(recording: "Recording", filled: NDArray[np.float32], file: Path) -> None:
    """List the gaps, and say of which not to expect much; and what else is doubtful."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    found = gaps(recording)
    if not found:
        console.print("Nothing is missing: written as it was measured.")
    table = Table("lead", "from", "length", "", box=None, pad_edge=False)
    for gap in found[:20]:
        seconds = (gap.last - gap.first) / recording.rate
        row = recording.leads.index(gap.lead)
        remark = "" if seconds <= RELIABLE else "unreliable: too long to know more than the rhythm"
        if np.isnan(filled[row, gap.first]):
            remark = "not filled: the model does not know this lead"
        table.add_row(gap.lead, f"{gap.first / recording.rate:.2f} s", f"{seconds:.2f} s", remark)
    if found:
        console.print(table)
    if len(found) > 20:
        console.print(f"and {len(found) - 20} more")
    if doubts := warned(recording.findings):
        codes = ", ".join(sorted(doubts))
        said = f"doubtful: {codes}; nerula check {file} says more"
        console.print(said, markup=False, soft_wrap=True)


def _finish(model: str, file: Path, written: list[Path], *, guessed: bool) -> None:
    from rich.console import Console

    lines = [f"Written: {path}" for path in written]
    if guessed:
        lines.append("Filled samples are guesses: never read a diagnosis from them.")
    lines.append(f"Next: nerula embed {model} {file} embeddings.npy")
    Console().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
