"""The contract between the training loop and a method: Batch and Method, on one page."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nerula.bounds import checked


@dataclass(frozen=True, slots=True)
class Needs:
    """What a method asks of the data."""

    leads: int = 1
    """Leads per recording; recordings with fewer valid leads are skipped."""
    segments: int = 1
    """Adjacent windows of one recording per sample; they share the seconds of the loop's window,
    so that every method sees as much."""
    labels: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """What the loop hands to a method. Shapes: batch B, segments S, leads L, time T."""

    x: Tensor
    """(B, S, L, T) float32, mV; S is 1 unless the method asked for more."""
    valid: Tensor
    """The same shape, bool: False where nothing was measured."""
    subject: Tensor
    """(B,) int64; equal numbers are the same subject, -1 is unknown."""
    generator: torch.Generator
    """On the batch's device, seeded by (seed, step): the only source of randomness. It is the same
    on all ranks, of which `nerula.together.drawn` gives each its own rows."""
    labels: Tensor | None = None


class Method(nn.Module, ABC):
    """A batch to a loss; a signal to an embedding. A new method is one subclass in one file.

    The keyword-only arguments of `__init__`, with their defaults, are the method's options on the
    command line, its saved configuration and its ablations at once, so each is a number, a word,
    a bool or a tuple of them. Which values can be meant stands beside their types
    (`nerula.bounds`); others are refused before anything is built.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Named sets of arguments, such as the published ones."""

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Options of the loop that belong to a preset, such as its learning rate."""

    training_only: ClassVar[tuple[str, ...]] = ()
    """Attributes (modules) that only training needs: a saved model has None in their place."""

    needs: Needs = Needs()
    """What this method, as configured, asks of the data."""

    paces: Mapping[str, float] = {}
    """Parts (attributes) that learn slower or faster: their share of the loop's learning rate."""

    any_leads: bool = False
    """Whether a lead that is not there is one that training hid too: any set of them will do."""

    trains: ClassVar[bool] = True
    """False for what has nothing to learn: `pretrain` writes it as it is built."""

    def __init_subclass__(cls) -> None:
        """Let the arguments be looked at before anything is built of them."""
        super().__init_subclass__()
        if "__init__" in vars(cls):
            setattr(cls, "__init__", checked(cls.__init__))  # noqa: B010

    @abstractmethod
    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return {"loss": ..., and its parts}. `progress` in [0, 1] drives every schedule."""

    @abstractmethod
    def embed(self, x: Tensor, valid: Tensor) -> Tensor:
        """(B, L, T) mV and its validity to embeddings (B, D)."""

    def watched(self, x: Tensor, valid: Tensor) -> Tensor:
        """What is watched for collapse in training: what the loss works on, (B, any)."""
        return self.embed(x, valid)

    def decode(self, x: Tensor, valid: Tensor) -> Tensor:  # noqa: ARG002
        """Rebuild (B, L, T) from what is valid, throughout, in mV."""
        raise TypeError(f"{type(self).__name__} has no reconstruction path")

    @classmethod
    def rebuilds(cls) -> bool:
        """Whether it has a reconstruction path."""
        return cls.decode is not Method.decode

    def reconstruct(self, x: Tensor, valid: Tensor) -> Tensor:
        """Fill (B, L, T) where it is invalid, in mV."""
        return torch.where(valid, x, self.decode(x, valid))

    def after_start(self) -> None:
        """Run when the weights of a trained model were loaded to go on from them."""

    def after_step(self, progress: float) -> None:
        """Run after each optimiser step, for moving averages."""


class Control(Method):
    """A method that learns nothing, to see what learning is worth."""

    trains = False

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Refuse: there is nothing to train."""
        raise TypeError(f"{type(self).__name__} learns nothing")
