"""Tuned: a fine-tuned network in use and on disk.

    FOLDER/model.safetensors, config.json, README.md    the encoder, a model like any other
    FOLDER/head.safetensors                             its head, a probe of its embeddings

So every verb takes the folder as a model, and `nerula.probes.load` the head as a probe.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from nerula import bundle
from nerula.encoders.pool import learnt
from nerula.errors import NerulaError, UsageError
from nerula.leads import Plan, planned
from nerula.method import Method
from nerula.methods.supervised import Predictor
from nerula.model import Model
from nerula.portable import Probe
from nerula.schema import CONFIG, HEAD
from nerula.store import Store
from nerula.together import BatchNorm

Array = NDArray[np.float32]
Rows = NDArray[np.int64]
PROBES = {"classes": "classes", "multilabel": "labels", "regression": "values"}
"""What a probe calls the kinds of labels."""
EPS = BatchNorm(1).eps
"""What keeps the head's standardisation from dividing by nothing."""
NO_ROWS: Rows = np.empty(0, np.int64)


class Check(NamedTuple):
    """The validation part, looked at once."""

    epoch: int
    error: float
    """Log loss of classes and labels, squared error in standard deviations of values."""


@dataclass(frozen=True, eq=False)
class Finetuned:
    """What `nerula.finetune.finetune` returns."""

    model: Model
    """Its method is a `Predictor`; `model.embed` gives the fine-tuned encoder's embedding."""
    kind: str
    leads: tuple[str, ...]
    """Leads that it was given, and is given when it predicts; all of them where empty."""
    checks: tuple[Check, ...]
    """The validation error as it went; empty where there was no validation part."""
    epoch: int
    """The epoch whose weights these are."""
    trained: Rows = field(default_factory=NO_ROWS.copy)
    """Rows that the weights were fitted to; not known of one that was loaded."""
    validated: Rows = field(default_factory=NO_ROWS.copy)
    """Rows that chose the epoch; not known of one that was loaded."""
    start: Model | None = None
    """The model that it was before, with its configuration; None where there is none."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Where the weights come from, for the configuration of the folder."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What was said when it was saved."""

    def predict(self, store: Store, rows: ArrayLike, leads: Sequence[str] = ()) -> Array:
        """Predict rows of a store: (N, outputs) probabilities, or values in their own units.

        With `leads` it is given these instead of those that it was trained with.

        A recording longer than the window is predicted in windows that overlap by half; each
        counts as much as it has valid samples.
        """
        return predict_rows(
            self.model, store, np.asarray(rows, np.int64), tuple(leads) or self.leads
        )

    def save(
        self,
        folder: Path | str,
        answers: Sequence[str] = (),
        about: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write the folder of a model with the head beside it; return its path.

        `answers` are the names of the classes or labels, or the one unit of values.
        """
        folder, learner = Path(folder), self.learner
        if self.kind not in PROBES or (self.kind == "regression" and len(learner.head.bias) > 1):
            raise UsageError(
                f"What was learned from {self.kind} has no head that a probe could be."
            )
        if self.start is None or self.start.config is None:
            raise UsageError(
                "Nothing says how to build this network again: it did not begin as a model.",
                "Begin with nerula.load(...); an untrained one: nerula pretrain METHOD STORE RUN "
                "--epochs 0.",
            )
        if folder.exists() and not (folder / CONFIG).is_file():
            raise UsageError(
                f"{folder} is there already and is no model: it would be replaced.",
                "Name a new folder.",
            )
        config, method = self.start.config, deepcopy(self.start.method)
        body_of(method).load_state_dict(learner.body.state_dict())
        bundle.save(
            folder,
            method,
            name=config.method,
            arguments=config.arguments if learner.frozen else _learnt_arguments(self.start),
            contract=self.model.contract,
            window=self.model.window,
            training=self.training,
        )
        names = tuple(answers) or _numbered(self.kind, len(learner.head.bias))
        known = {
            "leads": list(self.leads),
            "epoch": self.epoch,
            "checks": [list(check) for check in self.checks],
        }
        identity = bundle.load(folder, method=type(method)).identity
        head = Probe(
            PROBES[self.kind], names, "linear", _arrays(learner), identity,
            {**(about or {}), "finetuned": known},
        )  # fmt: skip
        head.save(folder / HEAD)
        return folder

    @property
    def learner(self) -> Predictor:
        """The network with its head."""
        return _predictor(self.model)


def load(
    folder: Path | str,
    *,
    device: str = "cpu",
    precision: str = "",
    method: type[Method] | None = None,
) -> Finetuned:
    """Load what `Finetuned.save` has written; in the precision of its training, if none is named.

    `method` is the class of a method of your own. What only the training knew, its rows, is not
    there any more.
    """
    folder = Path(folder)
    head = Probe.load(folder / HEAD)
    model = bundle.load(folder, device=device, method=method)
    head.require(model)
    training = model.config.training if model.config else {}
    precision = precision or str(training.get("machine", {}).get("precision", "fp32"))
    kind = next(kind for kind, name in PROBES.items() if name == head.kind)
    try:
        known = head.about["finetuned"]
        checks = tuple(Check(int(epoch), float(error)) for epoch, error in known["checks"])
        leads, epoch = tuple(map(str, known["leads"])), int(known["epoch"])
    except (KeyError, TypeError, ValueError):
        raise NerulaError(
            f"{folder / HEAD} is not the head of a network that was tuned."
        ) from None
    learner = _learner(deepcopy(body_of(model.method)), head, kind)
    tuned = Model(learner.to(device), model.contract, model.window, bf16=precision == "bf16")
    return Finetuned(
        tuned, kind, leads, checks, epoch, start=model, training=training, about=head.about
    )


def learnable(model: Model) -> Method:
    """A copy of what embeds, for a head that learns with it: pooled as losses pool tokens.

    Covariances and earlier layers are for probes of what stays as it is. Under a network that
    learns they are a thousand ways more to fit few labels.
    """
    if model.config is None or isinstance(model.method, Predictor):
        return deepcopy(body_of(model.method))
    return bundle.rebuilt(model.method, _learnt_arguments(model))


def _learnt_arguments(model: Model) -> dict[str, Any]:
    """A model's arguments, pooled as losses pool; one with a head has learned with its own."""
    arguments = dict(model.config.arguments) if model.config else {}
    if "pooling" in arguments and not isinstance(model.method, Predictor):
        arguments["pooling"] = learnt(arguments["pooling"])
    return arguments


def predict_rows(model: Model, store: Store, rows: Rows, leads: tuple[str, ...]) -> Array:
    """Predict every window, and average them by how much of each is valid."""
    learner = _predictor(model)
    plan = planned(store, model.contract.leads, leads, any_leads=learner.any_leads)
    signals = _signals(store, rows, plan)
    windows = model.per_window(learner.predict, signals, overlap=0.5)
    means = [
        np.average(one.z, axis=0, weights=one.weight if one.weight.any() else None)
        for one in windows
    ]
    return np.array(means, np.float32).reshape(len(rows), -1)


def _signals(store: Store, rows: Rows, plan: Plan) -> Iterator[tuple[Array, NDArray[Any]]]:
    for row in rows:
        x, valid = store.read(int(row))
        yield plan.of(x), plan.of(valid)


def _predictor(model: Model) -> Predictor:
    """The network of a model that was fine-tuned."""
    if not isinstance(model.method, Predictor):
        raise UsageError("This model predicts nothing: it was not fine-tuned.")
    return model.method


def body_of(method: Method) -> Method:
    """What embeds: of a method that has a head, all but the head."""
    return method.body if isinstance(method, Predictor) else method


def _numbered(kind: str, outputs: int) -> tuple[str, ...]:
    return ("value",) if kind == "regression" else tuple(map(str, range(outputs)))


def _arrays(learner: Predictor) -> dict[str, NDArray[Any]]:
    """The head, and what standardises embeddings for it, as the arrays of a linear probe."""
    held = learner.state_dict()
    values = {
        "centre": held["standardise.running_mean"],
        "spread": (held["standardise.running_var"].double() + EPS).sqrt(),
        "coefficients": held["head.weight"],
        "intercepts": held["head.bias"],
    }
    if learner.kind == "regression":
        values |= {"offset": learner.mean, "unit": learner.size}
    arrays = {name: one.detach().cpu().double().numpy() for name, one in values.items()}
    return arrays | {"columns": np.arange(len(arrays["intercepts"]))}


def _learner(body: Method, head: Probe, kind: str) -> Predictor:
    """The network with the head that a probe holds."""
    arrays = head.arrays
    learner = Predictor(
        body,
        head.dimensions,
        kind=kind,
        outputs=len(arrays["intercepts"]),
        mean=arrays["offset"].reshape(-1).tolist() if "offset" in arrays else (),
        size=arrays["unit"].reshape(-1).tolist() if "unit" in arrays else (),
        standardised=True,
    )
    given = {
        "standardise.running_mean": arrays["centre"],
        "standardise.running_var": arrays["spread"] ** 2 - EPS,
        "head.weight": arrays["coefficients"],
        "head.bias": arrays["intercepts"],
    }
    tensors = {name: torch.from_numpy(array) for name, array in given.items()}
    learner.load_state_dict(learner.state_dict() | tensors)
    return learner
