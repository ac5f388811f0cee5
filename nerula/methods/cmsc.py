"""CMSC of CLOCS: segments of one subject (Kiyasseh et al. 2021, https://arxiv.org/abs/2005.13249)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from nerula.bounds import Count, Positive, Widths, one_of
from nerula.encoders.backbone import ENCODERS, Backbone
from nerula.encoders.pool import READ_OUTS, learnt, pool
from nerula.encoders.resnet import NORMS
from nerula.encoders.scale import SCALINGS
from nerula.loss import effective_rank, info_nce, spread
from nerula.method import Batch, Method, Needs


class Cmsc(Method):
    """Contrastive Multi-Segment Coding: what follows one another in a heart belongs together.

    Two adjacent segments of each recording, embeddings h and h', cosine similarities s_ij, and
    all pairs (i, j) of one subject as positives::

        L = -mean over pairs of log( exp(s_ij / t) / sum_k exp(s_ik / t) )

    averaged with the same from h' to h.
    No augmentation and no projector. The embedding's length is taken out, of which the loss knows
    nothing. A window of the loop holds both segments, so every method sees the same seconds of
    signal: 10.24 s are two segments of 5.12 s, and the model embeds windows of 5.12 s.

    The released code weighs the pairs of a recording and the other pairs of a subject as three
    means of equal weight; here, as in the paper's equation, every pair counts the same.

    Arguments
    ---------
    temperature: t.
    encoder: `resnet` (He's 3-4-6-3 bottlenecks) or `local`, NERULA's.
    widths: of the ResNet's four stages; 64,128,256,512 is ResNet-50.
    norm: of the ResNet, `batch` or `position`.
    pooling: `mean`, `stats` (mean, deviation, maximum), `moments` (and covariances), `layers`
        (and the deviation of what every earlier layer gives) or `steps` (and how far tokens move).
    normalise: `none` leaves mV, `scale` divides by `unit` mV, `instance` by the deviation.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"widths": (64, 128, 256, 512)},
    }
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"lr": 1e-4, "batch": 256},
    }

    def __init__(
        self,
        *,
        temperature: Positive = 0.1,
        encoder: Annotated[str, one_of(ENCODERS)] = "resnet",
        widths: Widths = (64, 64, 64, 64),
        norm: Annotated[str, one_of(NORMS)] = "batch",
        pooling: Annotated[str, one_of(READ_OUTS)] = "mean",
        normalise: Annotated[str, one_of(SCALINGS)] = "scale",
        unit: Positive = 0.2,
        leads: Count = 1,
    ) -> None:
        super().__init__()
        self.needs, self.temperature = Needs(leads=leads, segments=2), temperature
        self.encoder = Backbone(
            encoder=encoder,
            widths=widths,
            norm=norm,
            pooling=pooling,
            normalise=normalise,
            unit=unit,
            leads=leads,
            directions=True,
        )

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Compute symmetric InfoNCE between the segments."""
        x = torch.cat([batch.x[:, 0], batch.x[:, 1]])
        valid = torch.cat([batch.valid[:, 0], batch.valid[:, 1]])
        z = pool([self.encoder(x, valid)], learnt(self.encoder.pooling))
        first, second = z[: len(batch.x)], z[len(batch.x) :]
        loss = info_nce(first, second, batch.subject, self.temperature)
        return {"loss": loss, "spread": spread(z), "rank": effective_rank(z)}

    def embed(self, x: Tensor, valid: Tensor) -> Tensor:
        """Pool the encoder's tokens."""
        return self.encoder.pooled(x, valid)

    def watched(self, x: Tensor, valid: Tensor) -> Tensor:
        """Pool the encoder's tokens as the loss does."""
        return self.encoder.watched(x, valid)
