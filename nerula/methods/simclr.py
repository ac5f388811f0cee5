"""SimCLR: contrastive learning of views (Chen et al. 2020, https://arxiv.org/abs/2002.05709)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from nerula.augment import augment
from nerula.bounds import Count, Positive, Widths, one_of
from nerula.encoders.backbone import ENCODERS, Backbone
from nerula.encoders.heads import PooledProjection
from nerula.encoders.pool import READ_OUTS
from nerula.encoders.resnet import NORMS
from nerula.encoders.scale import SCALINGS
from nerula.loss import effective_rank, nt_xent, spread
from nerula.method import Batch, Method, Needs


class Simclr(Method):
    """Find a recording's other view among all views of the batch.

    Both views through encoder and projection head to z; with cosine similarities s_ij::

        l(i, j) = -log( exp(s_ij / t) / sum_{k != i} exp(s_ik / t) )        (equation 1, NT-Xent)

    averaged over both directions of all pairs. With several ranks the negatives come from all of
    them. The views are those of the BYOL baseline: crop, time warp, flips over both axes, noise.

    Differs from the paper: AdamW instead of LARS, batches as large as the loop's.

    Arguments
    ---------
    temperature: t.
    projector: values of the projection.
    hidden: width inside the projection head.
    encoder: `resnet` (He's 3-4-6-3 bottlenecks) or `local`, NERULA's.
    widths: of the ResNet's four stages; 64,128,256,512 is ResNet-50.
    norm: of the ResNet, `batch` or `position`.
    pooling: `mean`, `stats` (mean, deviation, maximum), `moments` (and covariances), `layers`
        (and the deviation of what every earlier layer gives) or `steps` (and how far tokens move).
    normalise: `none` leaves mV, `scale` divides by `unit` mV, `instance` by the deviation.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"widths": (64, 128, 256, 512), "hidden": 2048, "projector": 128},
    }
    training_only = ("projection",)

    def __init__(
        self,
        *,
        temperature: Positive = 0.5,
        projector: Count = 128,
        hidden: Count = 256,
        encoder: Annotated[str, one_of(ENCODERS)] = "resnet",
        widths: Widths = (64, 64, 64, 64),
        norm: Annotated[str, one_of(NORMS)] = "batch",
        pooling: Annotated[str, one_of(READ_OUTS)] = "mean",
        normalise: Annotated[str, one_of(SCALINGS)] = "scale",
        unit: Positive = 0.2,
        leads: Count = 1,
    ) -> None:
        super().__init__()
        self.needs, self.temperature = Needs(leads=leads), temperature
        self.encoder = Backbone(
            encoder=encoder,
            widths=widths,
            norm=norm,
            pooling=pooling,
            normalise=normalise,
            unit=unit,
            leads=leads,
        )
        self.projection = PooledProjection(self.encoder.width, pooling, hidden, projector)

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Compute NT-Xent over two augmentations of each recording."""
        x, valid = batch.x[:, 0], batch.valid[:, 0]
        one, two = (augment(x, valid, batch.generator) for _ in range(2))
        tokens = self.encoder(torch.cat([one[0], two[0]]), torch.cat([one[1], two[1]]))
        z = self.projection(tokens)
        loss = nt_xent(z[: len(x)], z[len(x) :], self.temperature)
        return {"loss": loss, "spread": spread(z), "rank": effective_rank(z)}

    def embed(self, x: Tensor, valid: Tensor) -> Tensor:
        """Pool the encoder's tokens; the projection head is thrown away."""
        return self.encoder.pooled(x, valid)

    def watched(self, x: Tensor, valid: Tensor) -> Tensor:
        """Pool the encoder's tokens as the loss does."""
        return self.encoder.watched(x, valid)
