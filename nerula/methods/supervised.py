"""Supervised: labels instead of a pretext (ResNet: He et al. 2015,
https://arxiv.org/abs/1512.03385)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nerula.augment import fewer_leads
from nerula.bounds import Count, Positive, Share, Widths, any_of, one_of, within
from nerula.encoders.backbone import ENCODERS
from nerula.encoders.pool import READ_OUTS
from nerula.encoders.resnet import NORMS
from nerula.encoders.scale import SCALINGS
from nerula.errors import UsageError
from nerula.loss import cross_entropy
from nerula.method import Batch, Method, Needs
from nerula.methods.random_init import RandomInit
from nerula.precision import in_full
from nerula.together import BatchNorm

KINDS = ("classes", "multilabel", "regression")


class Predictor(Method):
    """A method's embedding and a linear layer on it, trained on labels together.

    With o = W z + c, where z is the embedding, on demand `standardised` by a BatchNorm without
    parameters, and labels y::

        classes      L = -log softmax(o)_y, weighted by class
        multilabel   L = mean over labels of the binary cross-entropy of sigmoid(o)
        regression   L = mean of (o - (y - mean) / size)^2

    A `frozen` body stays as it is: only the linear layer learns. With a `lead_chance` each lead
    that there is is hidden by it, in training, but for the last one.
    """

    weights: Tensor
    mean: Tensor
    size: Tensor

    def __init__(
        self,
        body: Method,
        width: int,
        *,
        kind: Annotated[str, one_of(KINDS)],
        outputs: Count,
        weights: Annotated[Sequence[float], any_of(within(0))] = (),
        mean: Annotated[Sequence[float], any_of(within())] = (),
        size: Annotated[Sequence[float], any_of(within(0, above=True))] = (),
        frozen: bool = False,
        standardised: bool = False,
        lead_chance: Share = 0.0,
    ) -> None:
        super().__init__()
        for name, given in (("weights", weights), ("mean", mean), ("size", size)):
            if given and len(given) != outputs:
                raise UsageError(f"{len(given)} numbers as {name} of {outputs} outputs.")
        self.needs, self.any_leads = Needs(leads=body.needs.leads, labels=True), body.any_leads
        self.kind, self.frozen, self.lead_chance = kind, frozen, lead_chance
        self.body = body.requires_grad_(False) if frozen else body
        self.standardise: nn.Module = nn.Identity()
        if standardised:
            self.standardise = BatchNorm(width, affine=False)
        self.head = nn.Linear(width, outputs)
        self.register_buffer("weights", torch.tensor(weights or [1.0] * outputs))
        self.register_buffer("mean", torch.tensor(mean or [0.0] * outputs))
        self.register_buffer("size", torch.tensor(size or [1.0] * outputs))

    @torch.no_grad()
    def start_from(self, shares: Tensor) -> None:
        """Let the head begin with the shares of the classes or labels in its training.

        From even odds a bias needs thousands of small steps to say that something is rare.
        """
        odds = shares.log() if self.kind == "classes" else shares.logit()
        self.head.bias.copy_(odds)

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Compute the loss of the labels."""
        if batch.labels is None:
            raise TypeError("a supervised method needs labels")
        valid = batch.valid[:, 0]
        if self.lead_chance:
            valid = fewer_leads(valid, batch.generator, self.lead_chance)
        outputs = self._outputs(batch.x[:, 0], valid)
        if self.kind == "classes":
            return {"loss": cross_entropy(outputs, batch.labels, self.weights)}
        labels = batch.labels.to(outputs.dtype).view_as(outputs)
        if self.kind == "multilabel":
            return {"loss": F.binary_cross_entropy_with_logits(outputs, labels)}
        return {"loss": F.mse_loss(outputs, (labels - self.mean) / self.size)}

    def embed(self, x: Tensor, valid: Tensor) -> Tensor:
        """Give the body's embedding."""
        return self.body.embed(x, valid)

    def predict(self, x: Tensor, valid: Tensor) -> Tensor:
        """Probabilities of classes or labels, or values in their own units: (B, outputs)."""
        outputs = self._outputs(x, valid)
        if self.kind == "classes":
            return outputs.softmax(-1)
        return outputs.sigmoid() if self.kind == "multilabel" else outputs * self.size + self.mean

    def train(self, mode: bool = True) -> Self:
        """Switch to training; a frozen body keeps its statistics."""
        super().train(mode)
        if self.frozen:
            self.body.eval()
        return self

    def _outputs(self, x: Tensor, valid: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.standardise(in_full(self.embed(x, valid))))
        return in_full(outputs)


class Supervised(Predictor):
    """A one-dimensional ResNet-50, or any encoder, trained on labels from the first step.

    He's 3-4-6-3 bottlenecks: preset `paper` has widths 64 to 512 (times 4) and 15.95 million
    parameters, the default has 64 (times 4) everywhere and 0.94 million, for two cores. With
    o = W z + c of the embedding z, and labels y::

        classes      L = -log softmax(o)_y, weighted by class
        multilabel   L = mean over labels of the binary cross-entropy of sigmoid(o)
        regression   L = mean of (o - (y - mean) / size)^2

    `nerula.finetune` brings the labels, and does the same to trained encoders.

    Arguments
    ---------
    kind: of the labels: `classes`, `multilabel` or `regression`.
    outputs: how many classes, labels or values.
    weights: of the classes; all alike where it is empty.
    mean: of the values in training, taken out of them for the loss.
    size: standard deviation of the values in training, divided by for the loss.
    encoder: `resnet` or `local`, NERULA's.
    widths: of the ResNet's four stages.
    norm: of the ResNet, `batch` or `position`.
    pooling: `mean`, `stats` (mean, deviation, maximum), `moments` (and covariances), `layers`
        (and the deviation of what every earlier layer gives) or `steps` (and how far tokens move).
    normalise: `none` leaves mV, `scale` divides by `unit` mV, `instance` by the deviation.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"widths": (64, 128, 256, 512)},
    }

    def __init__(
        self,
        *,
        kind: Annotated[str, one_of(KINDS)] = "classes",
        outputs: Count = 2,
        weights: Annotated[Sequence[float], any_of(within(0))] = (),
        mean: Annotated[Sequence[float], any_of(within())] = (),
        size: Annotated[Sequence[float], any_of(within(0, above=True))] = (),
        encoder: Annotated[str, one_of(ENCODERS)] = "resnet",
        widths: Widths = (64, 64, 64, 64),
        norm: Annotated[str, one_of(NORMS)] = "batch",
        pooling: Annotated[str, one_of(READ_OUTS)] = "mean",
        normalise: Annotated[str, one_of(SCALINGS)] = "scale",
        unit: Positive = 0.2,
        leads: Count = 1,
    ) -> None:
        body = RandomInit(
            encoder=encoder,
            widths=widths,
            norm=norm,
            pooling=pooling,
            normalise=normalise,
            unit=unit,
            leads=leads,
        )
        super().__init__(
            body,
            body.encoder.dimensions,
            kind=kind,
            outputs=outputs,
            weights=weights,
            mean=mean,
            size=size,
        )
