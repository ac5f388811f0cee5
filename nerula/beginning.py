"""Beginning: a training that goes on from a model instead of from random weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerula import bundle
from nerula.batches import ANY
from nerula.contract import Contract
from nerula.errors import UsageError
from nerula.method import Method
from nerula.methods import METHODS, find
from nerula.model import Model
from nerula.readers.names import canonical_lead
from nerula.schema import Config


@dataclass(frozen=True)
class Beginning:
    """What a training begins with: a trained model, or nothing."""

    model: Model | None = None
    config: Config | None = None
    name: str = ""

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of the model."""
        return {} if self.config is None else self.config.arguments

    @property
    def digest(self) -> dict[str, str]:
        """Names the weights, for the configuration of the run."""
        return {} if self.config is None else {"start": self.config.tensors}

    @property
    def provenance(self) -> dict[str, Any]:
        """What the next model's config says of this one: all that it has seen counts."""
        if self.config is None:
            return {}
        return {"start": {"tensors": self.config.tensors, "training": self.config.training}}

    def leads(self, asked: str, held: tuple[str, ...]) -> tuple[str, ...]:
        """Which of the leads that a store has `held` to train on, from how one writes them.

        The network knows several leads by their places alone, so those of a model stay where they
        are. Where nothing is said they are the model's, or without a model the store's.
        """
        words = asked.replace(",", " ").split()
        if [word.lower() for word in words] == list(ANY):
            chosen: tuple[str, ...] = ANY
        else:
            chosen = tuple(w if w in held else canonical_lead(w) or w for w in words)
        if self.config is None:
            return chosen or held
        own = self.config.contract.leads
        if len(own) == 1:
            if not chosen and len(held) > 1 and own[0] not in held:
                raise UsageError(
                    f"{self.name} takes one lead, and the store has {', '.join(held)}.",
                    "Name one with --leads, or learn from each of them with --leads any.",
                )
            return chosen or (held if len(held) == 1 else own)
        if chosen and chosen != own:
            raise UsageError(
                f"{self.name} has the leads {', '.join(own)}, in this order, and no others.",
                "Leave out --leads.",
            )
        return own

    def given(self, method: Method) -> Method:
        """Give the weights to a method that is about to be trained, and return it.

        Parts that only training needs were not kept; they begin anew.
        """
        if self.model is None:
            return method
        known, weights = method.state_dict(), self.model.method.state_dict()
        new = {name for name in known if name not in weights}
        fits = weights.keys() <= known.keys() and all(
            known[name].shape == one.shape for name, one in weights.items()
        )
        if not fits or any(name.split(".")[0] not in method.training_only for name in new):
            raise UsageError(
                "The model to go on from has another network than this training's arguments.",
                "Leave the arguments of the network to the model.",
            )
        method.load_state_dict(weights, strict=False)
        method.after_start()
        return method


def begin(method: str, start: str | Path | None, preset: str | None, held: Contract) -> Beginning:
    """Load the model to go on from; it has to be of the same method, and fit the store's signals.

    `held` is the contract of the store.
    """
    if start is None:
        return Beginning()
    if preset is not None:
        raise UsageError(
            "A model that is trained further has its own arguments.", "Leave out --preset."
        )
    config = Config.read(bundle.found(start))
    if config.method != method:
        raise UsageError(f"{start} is a model of the method {config.method}, not {method}.")
    own = config.contract
    if (own.rate, own.band) != (held.rate, held.band):
        one, other = (f"{c.rate:g} Hz, band {c.band or 'unfiltered'}" for c in (own, held))
        raise UsageError(
            f"{start} was trained on signals of {one}; the store holds {other}.",
            f"Prepare it with --rate {own.rate:g}.",
        )
    model = bundle.load(start, method=None if method in METHODS else find(method))
    return Beginning(model, config, str(start))
