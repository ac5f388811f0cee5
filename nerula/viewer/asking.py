"""Asking: what a model says of a recording or a stretch: neighbours, probes, filled gaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nerula import quality
from nerula.errors import UsageError
from nerula.portable import Probe
from nerula.recording import Recording
from nerula.signal import bridge
from nerula.viewer.atlas import Atlas
from nerula.viewer.shelf import Item

if TYPE_CHECKING:
    from nerula.model import Model

NEAREST = 8
LONGEST = 3600.0
"""Seconds of a recording that are embedded or examined."""
SHORTEST = 0.2
"""Seconds of which an embedding can say anything."""
GAPS, HIDDEN, AROUND = 64, 30.0, 120.0
"""The most gaps at once, the longest gap, and the longest stretch around them, in seconds."""
Span = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Asking:
    """A model, its probes and the map of a store."""

    model: "Model"
    name: str
    probes: Mapping[str, Probe]
    atlas: Atlas

    def about(self, item: Item, span: Span | None = None) -> dict[str, Any]:
        """Probabilities and nearest recordings of a recording, or of a stretch in seconds."""
        z = self._embedding(item, span)
        return {
            "probes": [_answer(name, probe, z) for name, probe in self.probes.items()],
            "neighbours": self._nearest(z, None if span else item.row),
        }

    def fill(self, item: Item, spans: Sequence[Span], lead: str = "") -> list[dict[str, Any]]:
        """Hide stretches of one lead or of all, and fill them; what was hidden is the truth."""
        gaps = _gaps(item, spans)
        margin = item.sample(self.model.seconds)
        first = max(min(a for a, _ in gaps) - margin, 0)
        last = min(max(b for _, b in gaps) + margin, item.length)
        if (last - first) / item.rate > AROUND:
            raise UsageError(f"The gaps are more than {AROUND:g} s apart.", "Fill one at a time.")
        whole = item.recording(first, last)
        rows = range(len(item.leads)) if not lead else [_row(item, lead)]
        seen = whole.valid.copy()
        for a, b in gaps:
            seen[list(rows), a - first : b - first] = False
        hidden = replace(whole, x=np.where(seen, whole.x, np.float32(0)), valid=seen)
        guess = self._filled(hidden, rows)
        straight = bridge(hidden.x, seen)
        return [
            _judged(whole, row, (a, b), first, (guess[row], straight[row]))
            for row in rows
            for a, b in gaps
            if seen[row].any()
        ]

    def _filled(self, hidden: Recording, rows: Sequence[int]) -> NDArray[np.float32]:
        """A model of one lead fills any lead, one after the other."""
        if len(self.model.contract.leads) > 1 or len(hidden.leads) == 1:
            return self.model.fill(hidden)
        guess = np.full(hidden.x.shape, np.nan, np.float32)
        for row in rows:
            if hidden.valid[row].any():
                one = slice(row, row + 1)
                guess[row] = self.model.fill(
                    replace(
                        hidden,
                        x=hidden.x[one],
                        valid=hidden.valid[one],
                        leads=hidden.leads[one],
                    )
                )[0]
        return guess

    def _embedding(self, item: Item, span: Span | None) -> NDArray[np.float32]:
        if span is None and item.row is not None and item.length <= LONGEST * item.rate:
            return self.atlas.embedding(item.row)
        a, b = (0, item.sample(LONGEST)) if span is None else map(item.sample, span)
        if (b - a) / item.rate < SHORTEST:
            raise UsageError("The stretch is too short.", f"Choose at least {SHORTEST:g} s.")
        own, recording = self.model.contract.leads[0], item.recording(a, b)
        lead = own if own in item.leads else item.leads[0]
        suited = self.model.suited(recording, lead)
        return next(self.model.embed_recordings([suited])).mean()

    def _nearest(self, z: NDArray[np.float32], row: int | None) -> dict[str, Any] | None:
        """None as long as there is nothing to compare with."""
        self.atlas.start()
        held = self.atlas.neighbours
        if held is None:
            return None
        found = held.nearest(z, NEAREST + 1)
        pairs = zip(found.rows.tolist(), found.distances.tolist(), strict=True)
        others = [(one, apart) for one, apart in pairs if one != row][:NEAREST]
        return {
            "searched": len(held.rows),
            "rows": [one for one, _ in others],
            "distances": [round(apart, 4) for _, apart in others],
        }


def examined(item: Item) -> dict[str, Any]:
    """How far a recording can be trusted: the index, of each lead too, and what was found."""
    last = item.sample(LONGEST)
    recording = item.recording(0, last)
    marked = quality.mark(replace(recording, findings=item.findings))
    told = item.row is not None and any(one.code != "signal-gap" for one in item.findings)
    findings = [one for one in marked.findings if not (told and one.code == "signal-gap")]
    x, valid, rate = marked.x, marked.valid, marked.rate
    return {
        "index": round(quality.index(x, valid, rate), 3),
        "leads": [round(quality.index(x[i], valid[i], rate), 3) for i in range(len(x))],
        "valid": round(float(valid.mean()), 4) if valid.size else 0.0,
        "seconds": last / item.rate,
        "findings": [
            {
                "code": one.code,
                "lead": one.lead,
                "detail": one.detail,
                "severity": str(one.severity),
                "meaning": one.defect.meaning,
                "remedy": one.defect.remedy,
            }
            for one in findings
        ],
    }


def _answer(name: str, probe: Probe, z: NDArray[np.float32]) -> dict[str, Any]:
    """What one probe says, in JSON."""
    said: dict[str, Any] = {"name": name, "kind": probe.kind}
    if probe.kind == "values":
        return said | {"value": round(float(probe.values(z)), 2), "unit": probe.answers[0]}
    shares = probe.probabilities(z)
    order = np.argsort(-shares, kind="stable")
    return said | {"classes": [[probe.classes[i], round(float(shares[i]), 4)] for i in order]}


def _gaps(item: Item, spans: Sequence[Span]) -> list[tuple[int, int]]:
    """Spans as samples, in order and apart."""
    if not 0 < len(spans) <= GAPS:
        raise UsageError(f"{len(spans)} gaps cannot be filled.", f"Mark 1 to {GAPS}.")
    gaps: list[tuple[int, int]] = []
    for a, b in sorted((item.sample(a), item.sample(b)) for a, b in spans):
        if b <= a:
            raise UsageError("A gap holds no sample.", "Mark a longer stretch.")
        if gaps and a <= gaps[-1][1]:
            gaps[-1] = (gaps[-1][0], max(gaps[-1][1], b))
        else:
            gaps.append((a, b))
    if max(b - a for a, b in gaps) > HIDDEN * item.rate:
        raise UsageError(f"Nothing is known of gaps over {HIDDEN:g} s.", "Mark a shorter stretch.")
    return gaps


def _row(item: Item, lead: str) -> int:
    if lead not in item.leads:
        raise UsageError(f"There is no lead {lead}.", f"It has {', '.join(item.leads)}.")
    return item.leads.index(lead)


def _judged(
    whole: Recording,
    row: int,
    gap: tuple[int, int],
    offset: int,
    found: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> dict[str, Any]:
    """One gap of one lead: what the model puts there, how far that and a straight line are off."""
    inside = slice(gap[0] - offset, gap[1] - offset)
    guess, straight = (one[inside] for one in found)
    truth = whole.x[row, inside]
    known = whole.valid[row, inside] & np.isfinite(guess)

    def error(filled: NDArray[np.float32]) -> float | None:
        if not known.any():
            return None
        return round(float(np.sqrt(np.mean((filled - truth)[known] ** 2))), 4)

    return {
        "lead": whole.leads[row],
        "start": gap[0] / whole.rate,
        "stop": gap[1] / whole.rate,
        "values": [round(float(one), 4) if np.isfinite(one) else None for one in guess],
        "rmse": error(guess),
        "line": error(straight),
    }
