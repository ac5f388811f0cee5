"""Portable: a fitted probe as arrays and JSON in one safetensors file, applied with NumPy alone.

Nothing in the file is code, and nothing of scikit-learn is needed to use it. Loading is strict:
every array has to be there under its name, in its shape, with the bits that were written, and
trees have to end.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nerula import __version__
from nerula.errors import NerulaError, UsageError
from nerula.files import parse_json, write_whole
from nerula.forms import FORMS, shares, sigmoid

if TYPE_CHECKING:
    from nerula.model import Model

FORMAT = "nerula-probe-1"
SUFFIX = ".safetensors"
KINDS = ("classes", "labels", "values")
LARGEST = 1 << 30
"""Bytes; no probe comes near."""
_FACTS = {"format", "nerula", "kind", "form", "answers", "embedding", "about", "arrays"}
_ANY_PRECISION = "precision"
"""The one fact of a model that a probe need not share: bf16 embeddings are nearly the same."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Probe:
    """A probe that was fitted on a model's embeddings.

    >>> import nerula, numpy as np
    >>> from nerula.probes import Examples, Question, fit
    >>> model, ecg = nerula.load("nerula-small"), nerula.sample.load()
    >>> z = model.embed(ecg.x[:100, 0], rate=100)
    >>> normal = Examples(z, ecg.has("NORM")[:100] * 1, np.arange(100))
    >>> fitted = fit("logistic", Question("classes", 2, "auroc"), normal, None)
    >>> probe = fitted.portable(("other", "normal"), model.identity, {"task": "normal or not"})
    >>> _ = probe.save("normal.safetensors")

    >>> probe = nerula.probes.load("normal.safetensors")
    >>> probe.require(model)
    >>> probe.classes, probe.probabilities(z).shape, probe.decide(z[0]).shape
    (('other', 'normal'), (100, 2), ())
    """

    kind: str
    """classes: one of them is true; labels: each may be; values: a number."""
    answers: tuple[str, ...]
    """Names of the classes or labels, or the one unit of values."""
    form: str
    """What computes it: linear, network, forest or kernel."""
    arrays: Mapping[str, NDArray[Any]]
    embedding: Mapping[str, Any]
    """`Model.identity` of the model whose embeddings it was fitted on."""
    about: Mapping[str, Any]
    """Task, data, figures: what a person wants to know."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of what `probabilities` has columns for; nothing for values."""
        return () if self.kind == "values" else self.answers

    @property
    def dimensions(self) -> int:
        """Values of an embedding."""
        return len(self.arrays["centre"])

    def probabilities(self, z: ArrayLike) -> Floats:
        """(N, D) embeddings to (N, C) probabilities; (D,) to (C,)."""
        if self.kind == "values":
            raise UsageError("This probe gives values, not probabilities.", "Use values(z).")
        z, many = self._given(z)
        if self.kind == "labels":
            raw = self._raw(z)
            full = raw if self.form == "forest" else sigmoid(raw)
        else:
            full = np.zeros((len(z), len(self.answers)))
            full[:, self.arrays["columns"]] = self._shares(self._raw(z))
        return full if many else full[0]

    def values(self, z: ArrayLike) -> Floats:
        """(N, D) embeddings to (N,) values; (D,) to one, as an array of no dimension."""
        if self.kind != "values":
            raise UsageError("This probe gives probabilities.", "Use probabilities(z).")
        z, many = self._given(z)
        found: Floats = self._raw(z)[:, 0] * self.arrays["unit"] + self.arrays["offset"]
        return found if many else np.asarray(found[0])

    def decide(self, z: ArrayLike) -> NDArray[np.int64]:
        """(N, D) embeddings to (N,) numbers of classes; (D,) to one.

        Of an SVC that is what its margins say; its probabilities may, near a tie, say another.
        """
        if self.kind != "classes":
            raise UsageError(f"A probe of {self.kind} decides on no class.")
        z, many = self._given(z)
        if self.form == "kernel":
            margins = self._raw(z)
            votes = np.round(margins)  # what is added to them only orders probabilities
            place = votes.argmax(1) if margins.shape[1] > 1 else (margins[:, 0] > 0) * 1
            found = self.arrays["columns"][place]
        else:
            found = self.probabilities(z).argmax(1)
        return np.asarray(found if many else found[0], np.int64)

    def require(self, model: "Model") -> None:
        """Refuse another model than the one whose embeddings this was fitted on."""
        held, wanted = (
            {key: value for key, value in facts.items() if key != _ANY_PRECISION}
            for facts in json.loads(json.dumps([model.identity, dict(self.embedding)]))
        )
        apart = sorted(key for key in held.keys() | wanted if held.get(key) != wanted.get(key))
        if apart:
            raise UsageError(
                f"The probe was fitted on embeddings of another model: {', '.join(apart)} differ.",
                f"It belongs to the tensors {str(wanted.get('tensors'))[:16]}; this model has "
                f"{str(held.get('tensors'))[:16]}. Fit one with: nerula probe MODEL TASK --save "
                "FOLDER",
            )

    def save(self, path: Path | str) -> Path:
        """Write one safetensors file, whole; return its path."""
        from safetensors.numpy import save

        path = Path(path)
        if path.suffix != SUFFIX:
            raise UsageError(f"{path} could be anything.", f"Give it the ending {SUFFIX}.")
        arrays = {name: np.array(one, order="C") for name, one in self.arrays.items()}
        facts = {
            "format": FORMAT,
            "nerula": __version__,
            "kind": self.kind,
            "form": self.form,
            "answers": list(self.answers),
            "embedding": dict(self.embedding),
            "about": dict(self.about),
            "arrays": {name: _digest(one) for name, one in sorted(arrays.items())},
        }
        text = json.dumps(facts, allow_nan=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, save(arrays, {"facts": text, "digest": _sha(text.encode())}))
        return path

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote; what is missing, unknown or altered is refused by name."""
        path = Path(path)
        facts, arrays = _read(path)
        probe = cls(
            kind=str(facts["kind"]),
            answers=tuple(map(str, facts["answers"])),
            form=str(facts["form"]),
            arrays=arrays,
            embedding=facts["embedding"],
            about=facts["about"],
        )
        try:
            probe._check()
        except (ValueError, KeyError, IndexError) as error:
            raise NerulaError(f"{path} is no sound probe: {error}.") from error
        return probe

    def _given(self, z: ArrayLike) -> tuple[Floats, bool]:
        given = np.asarray(z, np.float64)
        if given.ndim not in (1, 2) or given.shape[-1] != self.dimensions:
            raise UsageError(
                f"Embeddings of {self.dimensions} values are wanted, not {given.shape}."
            )
        return np.atleast_2d(given), given.ndim == 2

    def _raw(self, z: Floats) -> Floats:
        x = (z - self.arrays["centre"]) / self.arrays["spread"]
        return FORMS[self.form].apply(self.arrays, x)

    def _shares(self, raw: Floats) -> Floats:
        """Of what a form gives, to probabilities of the classes that training had."""
        if self.form == "forest":
            return raw
        if "calibration.coefficients" in self.arrays:
            weights = self.arrays["calibration.coefficients"]
            return shares(raw @ weights.T + self.arrays["calibration.intercepts"])
        if self.form == "kernel" and raw.shape[1] == 1:
            raw = np.hstack((-raw, raw))
        return shares(raw)

    def _check(self) -> None:
        """Raise ValueError where a part cannot be meant."""
        if self.kind not in KINDS or self.form not in FORMS or not self.answers:
            raise ValueError(f"{self.kind!r}, {self.form!r} and {self.answers!r} are unknown")
        wide = (self.dimensions,)
        if self.arrays["centre"].shape != wide or self.arrays["spread"].shape != wide:
            raise ValueError("centre and spread differ in shape")
        columns = FORMS[self.form].check(self.arrays, self.dimensions)
        held = self.arrays["columns"]
        if held.dtype != np.int64 or held.ndim != 1 or len(np.unique(held)) != len(held):
            raise ValueError("columns are no numbers of classes")
        if len(held) and not 0 <= held.min() <= held.max() < len(self.answers):
            raise ValueError("columns are none of the answers")
        wanted = {"labels": len(self.answers), "values": 1}.get(self.kind, len(held))
        if (columns if columns > 1 or wanted == 1 else 2) != wanted:
            raise ValueError(f"{columns} columns for {wanted} answers")
        if self.kind == "values" and self.arrays["unit"].size * self.arrays["offset"].size != 1:
            raise ValueError("unit and offset are one number each")
        if self.kind == "classes" and self._shares(np.zeros((1, columns))).shape != (1, wanted):
            raise ValueError("the calibration is of another shape")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Facts and arrays of a file, compared with their digests."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.stat().st_size > LARGEST:
            raise NerulaError(f"{path} is too large to be a probe.")
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = metadata.get("facts", "")
        facts = parse_json(text) if text else {}
    except (SafetensorError, OSError, ValueError) as error:
        raise NerulaError(
            f"{path} cannot be read as a probe: {error}.",
            "nerula probe MODEL TASK --save FOLDER writes one.",
        ) from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise NerulaError(f"{path} is no probe of this version ({FORMAT}).")
    if metadata.get("digest") != _sha(text.encode()) or set(facts) != _FACTS:
        raise NerulaError(f"{path} is damaged: what it says of itself was altered.")
    stored = facts["arrays"]
    wrong = [f"{name} is missing" for name in stored if name not in arrays]
    wrong += [f"{name} is unknown" for name in arrays if name not in stored]
    wrong += [
        f"{name} was altered"
        for name, one in arrays.items()
        if name in stored and _digest(one) != stored[name]
    ]
    if wrong:
        raise NerulaError(f"{path} is damaged: {', '.join(sorted(wrong))}.", "Copy it again.")
    return facts, arrays


def _digest(array: NDArray[Any]) -> str:
    """SHA-256 over type, shape and values."""
    return _sha(f"{array.dtype} {array.shape}\n".encode() + array.tobytes())


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
