"""What a typed user writes: `tests/test_typed.py` reads it with mypy --strict, nothing runs it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import nerula
from nerula.sklearn import ECGEmbedder


def day(x: NDArray[np.float32], store: Path) -> float:
    """Everything that a model does, with the types that come out."""
    model: nerula.Model = nerula.load("nerula-small")
    z: NDArray[np.float32] = model.embed(x, rate=250, lead="I")
    filled: NDArray[np.float32] = model.impute(x, 250, valid=np.isfinite(x))
    rebuilt: NDArray[np.float32] = model.reconstruct(filled, 250, unit="uV")
    score, findings, valid = model.quality(rebuilt, 250)
    names: NDArray[np.str_] = model.similar(x, 250, store, k=3).names
    codes: list[str] = [one.code for one in findings]
    probe = nerula.probes.load("sex.safetensors")
    probe.require(model)
    shares: NDArray[np.float64] = probe.probabilities(z)
    embedded: NDArray[np.float32] = ECGEmbedder(rate=250).fit(x).transform(x)
    print(names, codes, shares, embedded, valid.sum())
    try:
        nerula.ecg(9999)
    except nerula.NerulaError as error:
        print(error)
    return score + nerula.quality.index(x, np.isfinite(x), 250)


def wrong(model: nerula.Model) -> str:
    """A mistake that the types have to find."""
    return model.embed("not a signal", rate="fast")
