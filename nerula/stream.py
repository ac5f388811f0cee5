"""The verb `stream`: samples as they come, an embedding of every few seconds."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from cyclopts import Parameter

from nerula.completion import ModelName
from nerula.errors import UsageError, refuse
from nerula.streaming.live import Counts, Emitted, Stream, as_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nerula.streaming.follow import Bytes
    from nerula.streaming.inputs import Input

__all__ = ["Counts", "Emitted", "Stream", "stream"]

PATIENCE = 1.0
"""Seconds that windows wait for packets out of order, where packets have an order."""


def stream(
    model: ModelName,
    source: Path | None = None,
    *,
    every: float | None = None,
    window: float | None = None,
    format_: Annotated[Literal["csv", "int16", "wfdb"] | None, Parameter(name="--format")] = None,
    rate: float | None = None,
    leads: str | None = None,
    lead: str | None = None,
    unit: str | None = None,
    gain: float | None = None,
    probe: Path | None = None,
    embedding: bool = True,
    follow: Annotated[bool, Parameter(negative="")] = False,
    patience: float | None = None,
    times: bool = True,
) -> int:
    """Embed a stream of samples while it comes: one line of JSON for every window.

    Each line has start and end in seconds, the share of valid samples, a quality index, the
    embedding, and a probe's probabilities. It is what `nerula embed` makes of exactly the same
    samples. Memory does not grow. What comes late, twice or not at all is a gap, and counted; the
    counts stand on standard error at the end, which is the end of the input, Ctrl-C or SIGTERM.

    Parameters
    ----------
    model
        Folder of a model or of a finished run, or the name of a model that Nerula brings along.
    source
        A file, or the header of a WFDB record; without it, or with "-", standard input.
    every
        Seconds from one window to the next; by default they follow each other.
    window
        Seconds of a window; by default the model's.
    format_
        csv: lines with a header, and times or sequence numbers if there are any. int16: raw
        samples, little-endian, the leads of each moment together. wfdb: a record. By default what
        SOURCE's ending says, else csv.
    rate
        Samples per second, where the input does not say.
    leads
        Names of the leads in their order, where the input does not say.
    lead
        Which of several leads to give a model of one.
    unit
        Unit of the numbers, where the input does not say.
    gain
        Steps per unit of int16 samples.
    probe
        A probe that `nerula probe --save` has written.
    embedding
        Leave the embedding out of the lines with --no-embedding.
    follow
        Wait for more at the end of a file.
    patience
        Seconds that a window waits for packets out of order; 1 where packets have times or
        numbers, else 0.
    times
        With --no-times rows follow each other, whatever their times or sequence numbers say.
    """
    from nerula import bundle, probes
    from nerula.readers.names import split_leads
    from nerula.streaming.follow import Bytes

    begun = time.monotonic()
    loaded = bundle.load(model)
    given = probes.load(probe) if probe is not None else None
    path = None if source is None or str(source) == "-" else source
    stated = Stated(rate, split_leads(leads), unit, gain, times)
    reader, path = _reader(path, format_, stated, loaded.contract.leads)
    live: Stream | None = None
    with Bytes(path, follow=follow) as pieces:
        try:
            for data in _and_last(pieces):
                emitted: list[Emitted] = []
                for packet in reader.feed(data or b"", last=data is None):
                    if live is None:
                        waits = 0.0 if reader.ordered else PATIENCE
                        live = Stream(
                            loaded, reader.rate, every, window, reader.leads, lead, probe=given,
                            patience=waits if patience is None else patience,
                        )  # fmt: skip
                    emitted += live.push(packet.samples, packet.at)
                if data is None and live is not None:
                    emitted += live.close()
                _write(emitted, embedding=embedding, probed=given is not None)
        except BrokenPipeError:  # whoever read the lines has what it wanted
            sys.stdout = None
    _summary(live, reader, time.monotonic() - begun, model, probe)
    return 0


def _and_last(pieces: "Bytes") -> "Iterator[bytes | None]":
    yield from pieces
    yield None


class Stated(NamedTuple):
    """What the command line says of an input that does not say it."""

    rate: float | None
    leads: tuple[str, ...] | None
    unit: str | None
    gain: float | None
    times: bool


def _reader(
    path: Path | None, kind: str | None, stated: Stated, own: tuple[str, ...]
) -> "tuple[Input, Path | None]":
    """What understands the bytes, and the file that they come from."""
    from nerula.readers.source import Hints
    from nerula.streaming.inputs import Int16, Wfdb
    from nerula.streaming.lines import Lines

    ending = path.suffix.lower() if path is not None else ""
    kind = kind or {".hea": "wfdb", ".dat": "int16", ".raw": "int16"}.get(ending, "csv")
    rate, leads, unit, gain, times = stated
    if rate is not None and not 1 <= rate <= 100_000:
        raise refuse("rate-absurd", detail=f"{rate:g} Hz")
    if kind == "wfdb":
        if path is None:
            raise UsageError("A WFDB record is named by its header.", "Write: ... RECORD.hea")
        return Wfdb.open(path)
    if kind == "int16":
        if rate is None or gain is None:
            raise UsageError(
                "Raw samples do not say their rate or gain.",
                "Give --rate 250 --gain 1000 (steps per mV), and --leads where there are several.",
            )
        return Int16(rate, leads or own, gain, unit or "mV"), path
    return Lines(Hints(rate, unit, leads), path or Path("standard input"), clock=times), path


def _write(emitted: list[Emitted], *, embedding: bool, probed: bool) -> None:
    for one in emitted:
        sys.stdout.write(as_json(one, embedding=embedding, probed=probed) + "\n")
    if emitted:
        sys.stdout.flush()


def _summary(
    live: Stream | None, reader: "Input", seconds: float, model: str, probe: Path | None
) -> None:
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if live is None:
        raise UsageError("No sample has come.", "Is anything written to standard input?")
    counts = live.counts
    length = counts.samples / reader.rate
    console.print(
        f"{_duration(length)} of samples at {reader.rate:g} Hz in {counts.windows:,} "
        f"{'window' if counts.windows == 1 else 'windows'}; "
        f"it took {_duration(seconds)}",
        soft_wrap=True,
    )
    losses = {
        "missing": counts.missing,
        "late": counts.late,
        "repeated": counts.repeated,
        "malformed " + ("lines" if hasattr(reader, "_table") else "bytes"): reader.malformed,
        "restarts of the count": counts.restarts,
    }
    said = [f"{count:,} {name}" for name, count in losses.items() if count]
    console.print("On the way: " + (", ".join(said) or "none missing, late or repeated"))
    if probe is None:
        words = f"nerula probe {model} sex --save probes, and then --probe probes/FILE here"
    else:
        words = f"nerula view sample --model {model} --probe {probe}"
    console.print(f"Next: {words}", markup=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.2f} h"
