"""Results: one JSON document per (model, task, probe, way), its predictions in an .npz beside it.

`docs/tasks.md` describes the document. The predictions suffice to compute everything in it again,
and the paired difference to another result, without the model.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from nerula.bootstrap import RESAMPLES, Interval, Judged, Resamples, metric
from nerula.errors import NerulaError
from nerula.files import load_json, replacing, write_whole
from nerula.metrics import Answers

if TYPE_CHECKING:
    from nerula.portable import Probe
    from nerula.probes import Fitted
    from nerula.tuned import Finetuned

FORMAT = "nerula-result-1"
_LIMIT = 1 << 28
_DAMAGED = (
    OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading a damaged file may raise."""


@dataclass(frozen=True, eq=False)
class Result:
    """What one probe on one model's embeddings achieves in one task."""

    document: dict[str, Any]
    runs: tuple[Judged, ...]
    name: NDArray[np.str_]
    """Names of the recordings that `Judged.row` numbers."""
    fitted: "Fitted | None" = field(default=None, repr=False)
    """The probe itself, of several splits or draws the first; `write` leaves it out."""
    tuned: "Finetuned | None" = field(default=None, repr=False)
    """The network, where a whole one was trained; otherwise like `fitted`."""

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Each metric: value, low, high, n, subjects, chance, better."""
        held: Mapping[str, Any] = self.document["metrics"]
        return held

    @property
    def key(self) -> str:
        """A file name that says which result it is."""
        way = self.document["way"]
        words = [
            self.document["model"]["fingerprint"],
            self.document["data"]["kind"],
            way["probe"],
        ]
        if way["labels"] < 1:
            words.append(f"labels-{way['labels']:g}")
        if way["gap"]:
            words.append(f"gap-{way['gap']:g}-{way['filling']}")
        if way.get("leads"):
            words.append(f"leads-{'-'.join(way['leads'])}")
        if way.get("tested"):
            words.append(f"tested-{'-'.join(way['tested'])}")
        return ".".join(words)

    def write(self, folder: Path) -> Path:
        """Write FOLDER/TASK/KEY.json and .npz; return the path of the document."""
        place = folder / str(self.document["task"]["name"])
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"{self.key}.json"
        packed = io.BytesIO()
        np.savez_compressed(packed, allow_pickle=False, **self._arrays())
        with replacing(path.with_suffix(".npz")) as file:
            file.write(packed.getvalue())
        document = self.document | {"predictions": path.with_suffix(".npz").name}
        write_whole(path, json.dumps(document, indent=1, allow_nan=False) + "\n")
        return path

    def portable(self) -> "Probe | None":
        """The probe as arrays and JSON, with what is known of it; None where there is none."""
        if self.fitted is None:
            return None
        model = self.document["model"]
        embedding = {name: one for name, one in model.items() if name != "fingerprint"}
        return self.fitted.portable(self.answers, embedding, self.about)

    @property
    def answers(self) -> tuple[str, ...]:
        """Names of the classes or labels, or the one unit of values."""
        return tuple(self.document["task"]["answers"])

    @property
    def about(self) -> dict[str, Any]:
        """What goes with a probe or a network that is saved: question, data, figures, limits."""
        held = self.document
        said = ("task", "way", "windows", "data", "provenance", "metrics", "command")
        limits = [None if np.isnan(one) else float(one) for one in self.runs[0].thresholds]
        return {name: held[name] for name in said} | {
            "fit": held["fits"][0],
            "thresholds": limits,
        }

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote."""
        try:
            document = load_json(path)
            if not isinstance(document, dict) or document.get("format") != FORMAT:
                raise NerulaError(f"{path} is no result of this version ({FORMAT}).")
            packed = path.with_suffix(".npz")
            if packed.stat().st_size > _LIMIT:
                raise NerulaError(f"{packed} is too large to be the predictions of a probe.")
            with packed.open("rb") as file, np.load(file, allow_pickle=False) as held:
                arrays = {name: held[name] for name in held.files}
            runs = tuple(_run(arrays, number) for number in range(len(arrays["thresholds"])))
        except _DAMAGED as error:
            raise NerulaError(f"{path} cannot be read: {error}.") from error
        return cls(document, runs, arrays["name"])

    def names(self, run: Judged) -> NDArray[np.str_]:
        """The recordings of a run."""
        return np.asarray(self.name[run.row])

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """Only the recordings that were judged, all runs one after the other."""
        rows, place = np.unique(np.concatenate([r.row for r in self.runs]), return_inverse=True)
        sizes = [len(run.row) for run in self.runs]
        answers = [run.answers for run in self.runs]
        return {
            "name": self.name[rows].astype(np.str_),
            "run": np.repeat(np.arange(len(sizes)), sizes).astype(np.int16),
            "row": place.astype(np.int32),
            "person": np.concatenate([run.person for run in self.runs]).astype(np.int32),
            "truth": np.concatenate([one.truth for one in answers]),
            "score": np.concatenate([one.score for one in answers]).astype(np.float32),
            "predicted": np.concatenate([one.predicted for one in answers]),
            "thresholds": np.stack([run.thresholds for run in self.runs]),
        }


def _run(arrays: Mapping[str, NDArray[Any]], number: int) -> Judged:
    mine = arrays["run"] == number
    answers = Answers(
        arrays["truth"][mine], arrays["score"][mine].astype(np.float64), arrays["predicted"][mine]
    )
    row, person = (arrays[name][mine].astype(np.int64) for name in ("row", "person"))
    return Judged(answers, row, person, arrays["thresholds"][number])


def paired(
    ours: Result,
    theirs: Result,
    metrics: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Interval]:
    """Ours minus theirs, with the 95 % interval of the same resamples of people for both.

    Refused where they are not about the same recordings in the same splits and draws.
    """
    a, b = ours.document, theirs.document
    if a["task"]["name"] != b["task"]["name"] or a["data"]["split"] != b["data"]["split"]:
        raise NerulaError(
            f"Results of {a['task']['name']} and {b['task']['name']} on different splits cannot "
            "be paired.",
            "Take two results of one task and one data set.",
        )
    if len(ours.runs) != len(theirs.runs):
        raise NerulaError(
            f"{len(ours.runs)} runs cannot be paired with {len(theirs.runs)}.",
            "Compare results of the same splits, shares of labels and draws.",
        )
    for mine, other in zip(ours.runs, theirs.runs, strict=True):
        same = np.array_equal(ours.names(mine), theirs.names(other))
        if not same or not np.array_equal(mine.answers.truth, other.answers.truth):
            raise NerulaError("The two results are not about the same recordings.")
    drawn = Resamples(ours.runs, resamples)
    names = metrics or [name for name in ours.metrics if name in theirs.metrics]
    return {name: drawn.difference(ours.runs, theirs.runs, metric(name)) for name in names}
