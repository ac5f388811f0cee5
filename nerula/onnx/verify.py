"""Verify: a file against its model, on real ECGs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerula import sample
from nerula.errors import NerulaError
from nerula.model import Model
from nerula.onnx.recipe import EMBEDDING, answer
from nerula.onnx.running import outputs, session
from nerula.portable import Probe
from nerula.recording import Recording
from nerula.signal import windows

COUNT = 1000
"""ECGs."""
TOLERANCE = 1e-4
LENGTHS = (1, 300, 1000, 1024, 3000, 6100)
"""Samples of inputs that are no windows."""
Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Trial:
    """Real ECGs as a model takes them, and what it makes of them."""

    signal: Array
    """(N, leads, time), NaN where nothing was measured."""
    z: Array
    female: NDArray[np.bool_]
    age: NDArray[np.float64]
    """NaN where it is not known."""
    person: NDArray[np.int64]
    fold: NDArray[np.int64]


def trial(model: Model) -> Trial:
    """Bring the bundled sample under the model's contract: of each recording its first window.

    It has one lead. A model that takes any set of leads is given that one, in its place; another
    one gets the leads that it asks for from other recordings.
    """
    ecg, names = sample.load(), model.contract.leads
    x = ecg.x[:, 0]
    taken = x[(np.arange(len(x))[:, None] + np.arange(len(names))) % len(x)]
    there = np.ones(len(names), np.bool_)
    if model.method.any_leads:
        there = np.arange(len(names)) == _own(names, ecg.leads)
        taken[:, there] = x[:, None]
    found = [
        model.prepare(Recording(name, one, ecg.rate, names, np.tile(there[:, None], one.shape[1])))
        for name, one in zip(ecg.names, taken, strict=True)
    ]
    length = min(model.window, found[0].x.shape[1])
    pairs = [(one.x[:, :length], one.valid[:, :length]) for one in found]
    z = np.concatenate([one.z for one in model.embed_prepared(pairs)])
    hidden = [np.where(valid, x, np.float32(np.nan)) for x, valid in pairs]
    people = np.array([str(facts.subject) for facts in ecg.facts])
    return Trial(
        np.stack(hidden),
        z,
        np.array([facts.sex == "female" for facts in ecg.facts]),
        np.array([np.nan if one.age is None else one.age for one in ecg.facts], np.float64),
        np.unique(people, return_inverse=True)[1].astype(np.int64),
        ecg.folds,
    )


def _own(names: tuple[str, ...], leads: tuple[str, ...]) -> int:
    """Where a lead of the sample belongs among those of a model; first where it is a stranger."""
    return next((names.index(lead) for lead in leads if lead in names), 0)


@dataclass(frozen=True)
class Verdict:
    """How a file compares with its model."""

    difference: float
    """The largest, of any value of any embedding."""
    decisions: int
    """Recordings on which a probe of the sex decides otherwise."""
    answers: float
    """The largest difference of the given probe's probabilities, or of its values as a share of
    how much they differ between recordings."""
    recordings: int

    def refuse(self) -> None:
        """Raise where the file is not the model."""
        if self.difference <= TOLERANCE and not self.decisions and self.answers <= TOLERANCE:
            return
        raise NerulaError(
            f"The file does not compute what the model computes: embeddings differ by up to "
            f"{self.difference:.2g} ({TOLERANCE:g} is allowed), {self.decisions} of "
            f"{self.recordings} decisions and the probe's answers by up to {self.answers:.2g}. "
            "Nothing was written."
        )


def verify(content: bytes, model: Model, of: Trial, probe: Probe | None = None) -> Verdict:
    """Compare a file with its model: windows, gaps, other lengths, nothing at all."""
    opened = session(content)
    given = outputs(opened, of.signal[:COUNT])
    differences = [_apart(given[EMBEDDING], of.z[:COUNT])]
    for signal in _odd(model, of):
        found = outputs(opened, signal)[EMBEDDING]
        differences.append(_apart(found, embedded(model, signal)))
    nothing = outputs(opened, np.full_like(of.signal[:2], np.nan))[EMBEDDING]
    differences.append(float(np.abs(nothing).max()) if np.isfinite(nothing).all() else np.inf)
    decide = sex_probe(of)
    same = decide(of.z[:COUNT]) == decide(given[EMBEDDING])
    apart = 0.0
    if probe is not None:
        apart = _apart(*answers_of(probe, of.z[:COUNT], given))
    return Verdict(max(differences), int(np.sum(~same)), apart, len(same))


def answers_of(
    probe: Probe, z: Array, given: Mapping[str, Array]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """What a file and a probe say, (N, answers) each; values in deviations of the training's."""
    found = given[answer(probe)]
    if probe.kind != "values":
        return found, probe.probabilities(z)
    unit = probe.arrays["unit"]
    return found / unit, probe.values(z)[:, None] / unit


def sex_probe(of: Trial) -> Any:
    """A logistic probe of the sex that was fitted on the model's embeddings, deciding."""
    from sklearn.linear_model import LogisticRegression

    centre, spread = of.z.mean(0), of.z.std(0) + 1e-6
    fitted = LogisticRegression(C=0.03, max_iter=1000).fit((of.z - centre) / spread, of.female)
    return lambda z: fitted.predict((z - centre) / spread)


def embedded(model: Model, signal: Array) -> Array:
    """The method's own embedding of (N, leads, time) in one piece, NaN hidden."""
    seen = np.isfinite(signal)
    x = np.where(seen, signal, np.float32(0))
    with torch.inference_mode():
        z: Array = model.method.embed(torch.from_numpy(x), torch.from_numpy(seen)).numpy()
    return z


def _odd(model: Model, of: Trial) -> list[Array]:
    """Inputs of other lengths, with all leads and with gaps, cut from the same ECGs."""
    rng = np.random.default_rng(0)
    leads = of.signal.shape[1]
    one = np.isfinite(of.signal[0]).any(1).argmax()  # the sample's own, where it is the only one
    line = np.stack([np.roll(of.signal[:64, one], -lead, 0).reshape(-1) for lead in range(leads)])
    odd = []
    for length in (*LENGTHS, model.window):
        x = windows(line[:, : 3 * length], np.isfinite(line[:, : 3 * length]), length)[0].copy()
        for window in x:
            first = rng.integers(0, length)
            window[rng.integers(0, leads), first : first + length // 3] = np.nan
        odd.append(x)
    return odd


def _apart(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """The largest difference; infinite where one is not a number."""
    apart = np.abs(ours - theirs).max(initial=0.0)
    return float(apart) if np.isfinite(apart) else np.inf
