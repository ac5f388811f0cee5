"""The verb `impute`: fill the gaps of a recording."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray

from nerula.completion import KindName, ModelName
from nerula.defects import warned
from nerula.errors import UsageError
from nerula.filled import Gap, gaps, refuse, spare, write

if TYPE_CHECKING:
    from nerula.method import Method
    from nerula.model import Model
    from nerula.readers.source import Source
    from nerula.recording import Recording

RELIABLE = 1.2
"""Seconds. On held-out PTB-XL what nerula-small fills correlates with the truth by .74 at this
length and by .60 at 2 s (results/imputing.json): of longer gaps the rhythm may be known, the
beats in them are not. It was measured on a single lead, so it says nothing of a gap during which
the model has seen another."""
PICTURES = (".png", ".pdf", ".svg")
SHOWN = 10.0
"""Seconds of a long recording that the picture shows, around its longest gap."""


@dataclass(frozen=True)
class _Filling:
    """A recording that was filled, and what there was to fill it from."""

    seen: "Recording"
    """All that the model was given."""
    shown: "Recording"
    """What of it is written: all, or the lead that was asked for."""
    filled: NDArray[np.float32]
    """The rows of `shown`."""
    own: tuple[str, ...]
    """Leads of the model."""
    lacked: tuple[str, ...]
    """Leads of a model of several that the file has not."""

    @property
    def made_up(self) -> tuple[str, ...]:
        """Leads that are written although the file has them not."""
        return tuple(lead for lead in self.lacked if lead in self.shown.leads)

    def blind(self, gap: Gap) -> float:
        """Seconds of a gap, at the longest, during which no other lead was measured either."""
        others = [lead in self.own and lead != gap.lead for lead in self.seen.leads]
        seen = self.seen.valid[others, gap.first : gap.last].any(axis=0)
        edges = np.flatnonzero(np.concatenate([[True], seen, [True]]))
        return float(np.diff(edges).max() - 1) / self.seen.rate


def impute(
    model: ModelName,
    file: Path,
    out: Path,
    *,
    picture: Path | None = None,
    name: str | None = None,
    lead: str | None = None,
    all_leads: Annotated[bool, Parameter(negative="")] = False,
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
        OUT.csv (seconds, each lead in mV, and for each whether it was filled), OUT.npy (leads,
        time) in mV, or OUT.hea, a WFDB record with annotations OUT.filled around each gap.
    picture
        Draw measured and filled signal on ECG paper, into a .png, .pdf or .svg.
    name
        Which recording, where the file holds several.
    lead
        Which lead to fill and write, where the recording has several. A model of one lead sees
        that lead alone, a model of several sees all that were measured.
    all_leads
        Write every lead of a model of several, in its order: what the file lacks is made up from
        the leads that it has.
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

    refuse(out, file)
    if picture is not None and picture.suffix.lower() not in PICTURES:
        raise UsageError(
            f"{picture} is no picture that can be drawn.",
            f"Give it an ending: {', '.join(PICTURES)}.",
        )
    loaded = bundle.load(model)
    hints = Hints(source_rate, source_unit, split_names(source_leads))
    source = open_source(file, kind, hints)
    recording = quality.mark(_the_one(source, file, name))
    spare(out, recording.path or file)  # of a folder, one file may be meant
    filling = _fill(loaded, recording, file, lead, all_leads=all_leads)
    shown, filled = filling.shown, filling.filled
    written = write(out, shown, filled)
    _say(filling, file)
    _say_lacked(filling, out, loaded.method)
    if picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        written.append(_draw(shown, filled, picture))
    _finish(model, file, written, guessed=not shown.valid.all())
    return 0


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


def _fill(
    model: "Model", recording: "Recording", file: Path, lead: str | None, *, all_leads: bool
) -> _Filling:
    """Fill a recording, or the one lead of it that was asked for."""
    from nerula import given

    own = model.contract.leads
    lacked = tuple(one for one in own if one not in recording.leads) if len(own) > 1 else ()
    if all_leads:
        recording = given.with_leads(recording, own)
    shown = recording if lead is None else _only(recording, lead, lacked)
    seen = shown if len(own) == 1 else recording
    if len(seen.leads) > len(own) == 1 and own[0] not in seen.leads:
        raise UsageError(
            f"The model knows lead {own[0]}; {file} has {', '.join(seen.leads)}.",
            "Say with --lead which of them to fill.",
        )
    rows = [seen.leads.index(one) for one in shown.leads]
    return _Filling(seen, shown, model.fill(seen)[rows], own, lacked)


def _only(recording: "Recording", lead: str, lacked: tuple[str, ...]) -> "Recording":
    from nerula.readers.names import canonical_lead

    wanted = canonical_lead(lead) or lead
    if wanted not in recording.leads:
        remedy = f"It has {', '.join(recording.leads)}"
        remedy += "; --all-leads makes up what is lacking." if wanted in lacked else "."
        raise UsageError(f"There is no lead {lead}.", remedy)
    row = [recording.leads.index(wanted)]
    return replace(recording, x=recording.x[row], valid=recording.valid[row], leads=(wanted,))


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
        (label, recording.x[row, shown], recording.valid[row, shown], filled[row, shown])
        for row, label in enumerate(_labels(recording))
    ]
    start = f", from {first / rate:.1f} s" if first else ""
    title = f"{recording.name}{start}: measured (black), filled (blue)"
    return figures.filled(rows, rate, picture, title)


def _labels(recording: "Recording") -> list[str]:
    """What a picture calls the leads: it is passed on without what the terminal said."""
    return [
        lead if valid.any() else f"{lead}, not measured"
        for lead, valid in zip(recording.leads, recording.valid, strict=True)
    ]


def _say(filling: _Filling, file: Path) -> None:
    """List the gaps, and say of which not to expect much; and what else is doubtful."""
    from rich.console import Console
    from rich.table import Table

    console, shown = Console(highlight=False), filling.shown
    found = [gap for gap in gaps(shown) if gap.lead not in filling.made_up]
    if not found and not filling.made_up:
        console.print("Nothing is missing: written as it was measured.")
    table = Table("lead", "from", "length", "", box=None, pad_edge=False)
    for gap in found[:20]:
        seconds = (gap.last - gap.first) / shown.rate
        start = f"{gap.first / shown.rate:.2f} s"
        table.add_row(gap.lead, start, f"{seconds:.2f} s", _remark(filling, gap))
    if found:
        console.print(table)
    if len(found) > 20:
        console.print(f"and {len(found) - 20} more")
    if doubts := warned(shown.findings):
        codes = ", ".join(sorted(doubts))
        said = f"doubtful: {codes}; nerula check {file} says more"
        console.print(said, markup=False, soft_wrap=True)


def _remark(filling: _Filling, gap: Gap) -> str:
    if np.isnan(filling.filled[filling.shown.leads.index(gap.lead), gap.first]):
        return "not filled: the model does not know this lead"
    if filling.blind(gap) > RELIABLE:
        return "unreliable: too long to know more than the rhythm"
    if gap.last - gap.first > RELIABLE * filling.shown.rate:
        return "guessed from the other leads"
    return ""


def _say_lacked(filling: _Filling, out: Path, method: "Method") -> None:
    """Which leads of the model the file has not, and what became of them."""
    from rich.console import Console

    console = Console(highlight=False)
    if made_up := filling.made_up:
        said = f"Made up by the model, and no measurement: {' '.join(made_up)}"
        console.print(said, markup=False, soft_wrap=True)
        if out.suffix == ".npy":
            said = f"Rows of {out}: {' '.join(filling.shown.leads)}"
            console.print(said, markup=False, soft_wrap=True)
        if not method.any_leads:
            said = "This model was trained with all of its leads, and never to do without."
            console.print(said, style="yellow", soft_wrap=True)
    elif filling.lacked and filling.shown is filling.seen and method.rebuilds():
        said = f"The file lacks {' '.join(filling.lacked)}: --all-leads would make them up."
        console.print(said, markup=False, soft_wrap=True)


def _finish(model: str, file: Path, written: list[Path], *, guessed: bool) -> None:
    from rich.console import Console

    lines = [f"Written: {path}" for path in written]
    if guessed:
        lines.append("Filled samples are guesses: never read a diagnosis from them.")
    lines.append(f"Next: nerula embed {model} {file} embeddings.npy")
    Console().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
