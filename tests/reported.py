"""What a report is made of: real recordings, a small model trained for seconds, its probes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nerula import bundle, sample
from nerula.evaluate import evaluate
from nerula.ground import Ways
from nerula.prepare import Options, make_store
from nerula.pretrain import pretrain
from nerula.readers.source import Entry
from nerula.recording import Recording
from nerula.store import Store
from nerula.tasks import find
from tests.known_leads import knowing, recorded

SMALL: dict[str, Any] = {
    "projector": 16, "pooling": "mean", "width": 32, "stem": ((8, 2), (16, 2), (32, 1)),
    "blocks": ((9, 1), (9, 2)), "decoder_width": 32,
}  # fmt: skip
TITLE = "A & <b>"
EVIL = "<script>window.evil=1</script>"
EVIL_LABEL = '"><img src=x onerror="window.evil=2">'


@dataclass(frozen=True)
class Part:
    """Some of the bundled sample, one recording under a name that must not run."""

    count: int
    kind: str = "sample"
    root: Path = sample.FOLDER
    leads: tuple[str, ...] = ("II",)

    def entries(self) -> Iterator[Entry]:
        for entry in list(sample.load().entries())[: self.count]:
            yield replace(entry, name=EVIL) if not entry.row else entry

    def read(self, entry: Entry) -> Recording:
        held = sample.load().read(entry)
        labels = {EVIL_LABEL: 100.0, **held.labels} if entry.name == EVIL else held.labels
        return replace(held, labels=labels)


def make(folder: Path) -> None:
    """A store, a run of a few steps and what probes found."""
    make_store(Part(240), folder / "store", Options(leads=("II",)))
    options = {"epochs": 2, "batch": 32, "device": "cpu", "precision": "fp32", "threads": 1}
    pretrain("nerula", folder / "store", folder / "run", **options, **SMALL)
    model, store = bundle.load(folder / "run"), Store.open(folder / "store")
    ways = Ways(probes=("logistic",), labels=(0.3, 1), gaps=(0.1, 0.4), draws=2, resamples=60)
    asked = [("sex", ways), ("age", replace(ways, probes=("ridge",), labels=(1,), gaps=()))]
    asked.append(("statements", replace(ways, labels=(1,), gaps=())))
    for task, how in asked:
        for result in evaluate(model, find(task), store, folder / "probed" / "cache", how):
            result.write(folder / "probed" / "results")
    between = replace(ways, labels=(1,), gaps=(), unverified=True)
    with TemporaryDirectory() as elsewhere:
        known, several = knowing(), recorded(Path(elsewhere) / "store")
        for task, probes in (
            ("lead-alignment", ("cosine",)),
            ("leads", ("decoded-I", "scaled-I")),
        ):
            how = replace(between, probes=probes)
            for result in evaluate(known, find(task), several, Path(elsewhere) / "cache", how):
                result.write(folder / "probed" / "results")
