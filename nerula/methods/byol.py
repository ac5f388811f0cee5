"""BYOL: Bootstrap Your Own Latent (Grill et al. 2020, https://arxiv.org/abs/2006.07733)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from nerula.augment import augment, patch_masks
from nerula.bounds import Count, Positive, Share, Widths, one_of
from nerula.encoders.backbone import ENCODERS, Backbone
from nerula.encoders.heads import PooledProjection, Target, mlp
from nerula.encoders.pool import READ_OUTS
from nerula.encoders.resnet import NORMS
from nerula.encoders.scale import SCALINGS
from nerula.loss import effective_rank, negative_cosine, spread
from nerula.method import Batch, Method, Needs

VIEWS = ("augmentation", "neighbours", "masks")


class Byol(Method):
    """Predict how a slower copy of the network sees the other view; no negative pairs.

    Two views v, v~ of a recording; online network: encoder f, projector g, predictor q; target
    network f', g' without a predictor and without a gradient. With z = g(f(v)), z~ = g(f(v~)) and
    what the target makes of them, z' and z~'::

        L = |q(z) - z~'|^2 + |q(z~) - z'|^2,  each of unit length       (equation 2, symmetric)
          = (2 - 2 cos(q(z), z~')) + (2 - 2 cos(q(z~), z'))
        target <- r target + (1 - r) online,  r from `ema` to 1 along a cosine

    The target takes the online network's BatchNorm statistics as they are. Views for the ECG, as
    NERULA describes its baseline: flips over both axes, random crop, Gaussian noise, time warping.
    Table 1 of NERULA changes nothing but `views`; so does the first step of its Table 2.

    Differs from the paper: AdamW instead of LARS, smaller heads but for the preset `paper`.

    Arguments
    ---------
    views: `augmentation`; two `neighbours`, the adjacent halves of a window as in CLOCS; or
        complementary `masks` as in NERULA, with zeros for what is hidden.
    ema: the target's rate in the beginning; 0 compares with the online network itself, detached.
    projector: values of the projection.
    hidden: width inside projector and predictor.
    encoder: `resnet` (He's 3-4-6-3 bottlenecks) or `local`, NERULA's.
    widths: of the ResNet's four stages; 64,128,256,512 is ResNet-50.
    norm: of the ResNet, `batch` or `position`.
    pooling: `mean`, `stats` (mean, deviation, maximum), `moments` (and covariances), `layers`
        (and the deviation of what every earlier layer gives) or `steps` (and how far tokens move).
    normalise: `none` leaves mV, `scale` divides by `unit` mV, `instance` by the deviation.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"widths": (64, 128, 256, 512), "hidden": 4096},
    }
    training_only = ("projection", "predictor", "target")

    def __init__(
        self,
        *,
        views: Annotated[str, one_of(VIEWS)] = "augmentation",
        ema: Share = 0.99,
        projector: Count = 256,
        hidden: Count = 512,
        encoder: Annotated[str, one_of(ENCODERS)] = "resnet",
        widths: Widths = (64, 64, 64, 64),
        norm: Annotated[str, one_of(NORMS)] = "batch",
        pooling: Annotated[str, one_of(READ_OUTS)] = "mean",
        normalise: Annotated[str, one_of(SCALINGS)] = "scale",
        unit: Positive = 0.2,
        leads: Count = 1,
    ) -> None:
        super().__init__()
        self.needs = Needs(leads=leads, segments=2 if views == "neighbours" else 1)
        self.views, self.ema = views, ema
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
        self.predictor = mlp(projector, hidden, projector)
        self.target = Target(self.encoder, self.projection) if ema else None

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Compute the symmetric loss."""
        x, valid = self._views(batch)
        online = self.projection(self.encoder(x, valid))
        aim = online.detach()
        if self.target is not None:
            with torch.no_grad():
                aim = self.target.projection(self.target.encoder(x, valid))
        other = aim.roll(len(aim) // 2, 0)
        loss = 2 * (2 + 2 * negative_cosine(self.predictor(online), other))
        return {"loss": loss, "spread": spread(online), "rank": effective_rank(online)}

    def embed(self, x: Tensor, valid: Tensor) -> Tensor:
        """Pool the encoder's tokens; projector and predictor are thrown away."""
        return self.encoder.pooled(x, valid)

    def watched(self, x: Tensor, valid: Tensor) -> Tensor:
        """Pool the encoder's tokens as the loss does."""
        return self.encoder.watched(x, valid)

    def after_start(self) -> None:
        """Let the target begin as the online network does."""
        if self.target is not None:
            self.target = Target(self.encoder, self.projection)

    def after_step(self, progress: float) -> None:
        """Move the target towards the online network."""
        if self.target is not None:
            self.target.follow(self.encoder, self.projection, rate=self.ema, progress=progress)

    def _views(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Both views, one after the other: (2 B, L, T) and its validity."""
        x, valid = batch.x[:, 0], batch.valid[:, 0]
        if self.views == "neighbours":
            return torch.cat([x, batch.x[:, 1]]), torch.cat([valid, batch.valid[:, 1]])
        if self.views == "masks":
            first = patch_masks(len(x), x.shape[-1], batch.generator, device=x.device)
            masks = torch.cat([first, ~first]).unsqueeze(1)
            return torch.where(masks, x.repeat(2, 1, 1), 0.0), valid.repeat(2, 1, 1)
        one, two = (augment(x, valid, batch.generator) for _ in range(2))
        return torch.cat([one[0], two[0]]), torch.cat([one[1], two[1]])
