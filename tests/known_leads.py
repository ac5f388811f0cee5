"""A model whose leads are multiples of one signal, and recordings that are so too."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from torch import Tensor

from nerula import sample
from nerula.contract import Contract
from nerula.method import Batch, Method, Needs
from nerula.model import Model
from nerula.recording import Recording
from nerula.store import Store
from nerula.writer import StoreWriter

LEADS = ("I", "II", "III", "V1", "V2")
FACTORS = np.array([1.0, 0.7, -0.3, -1.2, 0.5], np.float32)


class Known(Method):
    """Leads are one signal times `FACTORS`: it knows that, and embeds the signal's halves."""

    def __init__(self, *, knows: bool = True) -> None:
        super().__init__()
        self.needs, self.knows, self.any_leads = Needs(leads=5), knows, True

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        raise TypeError

    def _source(self, x: Tensor, valid: Tensor) -> Tensor:
        factors = x.new_tensor(FACTORS if self.knows else np.ones(5)).view(1, -1, 1)
        there = valid.any(-1, keepdim=True)
        return (x * valid / factors).sum(1) / there.sum(1).clamp(min=1)

    def embed(self, x: Tensor, valid: Tensor) -> Tensor:
        return self._source(x, valid)[:, ::40]

    def decode(self, x: Tensor, valid: Tensor) -> Tensor:
        return self._source(x, valid).unsqueeze(1) * x.new_tensor(FACTORS).view(1, -1, 1)


def recorded(path: Path) -> Store:
    """Fold 1 trains, fold 10 is tested; each lead is a multiple of one, with a little noise."""
    rng = np.random.default_rng(0)
    facts = {"source": {"kind": "ptbxl100"}}
    with StoreWriter(path, Contract(LEADS, 100.0), facts) as writer:
        for i in range(40):
            x = sample.load().x[i, 0] * FACTORS[:, None]
            x = x + 0.002 * rng.normal(size=x.shape).astype(np.float32)
            fold = "10" if i % 2 else "1"
            valid = np.ones(x.shape, bool)
            valid[:, 30 * i : 30 * i + 10] = False
            writer.add(Recording(str(i), x, 100.0, LEADS, valid, subject=str(i), fold=fold))
    return Store.open(path)


def knowing(*, knows: bool = True) -> Model:
    """The model, which may know nothing of the factors."""
    return Model(Known(knows=knows), Contract(LEADS, 100.0), 1024)


THREE = ("I", "II", "V2")


def three_leads(path: Path, count: int) -> None:
    """A store of the bundled sample's lead II, with multiples of it for two leads more."""
    every = sample.load()
    with StoreWriter(path, Contract(THREE, 100.0), {"source": {"kind": "ptbxl100"}}) as writer:
        for entry in islice(every.entries(), count):
            one = every.read(entry)
            x = np.array([[0.7], [1.0], [-1.2]], np.float32) * one.x
            writer.add(replace(one, x=x, valid=np.ones(x.shape, bool), leads=THREE))
