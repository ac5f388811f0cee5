"""Epochs: which one of a training on labels is kept, and who hears of them while it goes on."""

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerula.methods.supervised import Predictor
from nerula.model import Model
from nerula.store import Store
from nerula.tuned import Array, Check, Rows, predict_rows

CHECKS = 20
"""How often the rows that choose are predicted, at most."""
Examples = tuple[Rows, NDArray[Any]]
"""Rows of a store, with their targets."""
Told = Callable[[int, int, float | None], None]
"""Hears how many epochs have passed, of how many, and the error of the rows that choose where they
were predicted."""


class Epochs:
    """Looks at the rows that choose after epochs, and keeps the weights of the best one."""

    def __init__(
        self,
        learner: Predictor,
        model: Model,
        store: Store,
        chooses: Examples,
        count: int,
        *,
        leads: tuple[str, ...],
        told: Told | None,
    ) -> None:
        self._learner, self._model, self._store, self._leads = learner, model, store, leads
        (self._rows, self._labels), self._count, self._told = chooses, count, told
        self._every = math.ceil(count / CHECKS)
        self._weights: dict[str, torch.Tensor] = {}
        self.checks: list[Check] = []
        self._tell(0, None)

    def ended(self, epoch: int) -> None:
        """Compute the error now and then, and after the last epoch."""
        looked = len(self._rows) and (not epoch % self._every or epoch == self._count)
        self._tell(epoch, self._look(epoch) if looked else None)

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """What a checkpoint has to hold: every look, and the best weights until then."""
        looks = torch.tensor(self.checks, dtype=torch.float64).reshape(-1, 2)
        return {"checks": looks, **{f"best/{name}": one for name, one in self._weights.items()}}

    def take(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from what a checkpoint held."""
        looks = tensors["checks"].tolist()
        self.checks = [Check(int(epoch), error) for epoch, error in looks]
        best = {name: one for name, one in tensors.items() if name.startswith("best/")}
        self._weights = {name.removeprefix("best/"): one for name, one in best.items()}

    def restore(self) -> int:
        """Load the best weights; return their epoch."""
        if not self.checks:
            return self._count
        self._learner.load_state_dict(self._weights)
        return min(self.checks, key=lambda check: check.error).epoch

    def _look(self, epoch: int) -> float:
        self._learner.eval()
        predicted = predict_rows(self._model, self._store, self._rows, self._leads)
        self._learner.train()
        error = _error(self._learner, predicted, self._labels)
        if all(error < check.error for check in self.checks):
            self._weights = deepcopy(self._learner.state_dict())
        self.checks.append(Check(epoch, error))
        return error

    def _tell(self, epoch: int, error: float | None) -> None:
        if self._told is not None:
            self._told(epoch, self._count, error)


def _error(learner: Predictor, predicted: Array, labels: NDArray[Any]) -> float:
    """What the training minimises, of averaged predictions."""
    if learner.kind == "regression":
        size = learner.size.cpu().numpy()
        return float(np.mean(((predicted - labels) / size) ** 2))
    sure = np.clip(predicted.astype(np.float64), 1e-6, 1 - 1e-6)
    if learner.kind == "multilabel":
        return float(-np.mean(np.where(labels == 1, np.log(sure), np.log1p(-sure))))
    weights = learner.weights.cpu().numpy()[labels]
    each = -np.log(sure[np.arange(len(labels)), labels])
    return float(np.average(each, weights=weights))
