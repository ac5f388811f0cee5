"""Control: an encoder as it is before any training."""

from typing import Annotated

from torch import Tensor

from nerula.bounds import Count, Positive, Widths, one_of
from nerula.encoders.backbone import ENCODERS, Backbone
from nerula.encoders.pool import READ_OUTS
from nerula.encoders.resnet import NORMS
from nerula.encoders.scale import SCALINGS
from nerula.method import Control, Needs


class RandomInit(Control):
    """The embedding of an encoder with random weights, which are those of the run's seed.

    Random networks embed surprisingly well (Saxe et al. 2011, "On random weights and unsupervised
    feature learning"): what a trained encoder is worth is its distance to this one. `local` is the
    control of NERULA, `resnet` that of the methods on a ResNet. Its normalisation is by position,
    since a BatchNorm that has seen no batch normalises nothing.

    Arguments
    ---------
    encoder: `local`, NERULA's, or `resnet` (He's 3-4-6-3 bottlenecks).
    widths: of the ResNet's four stages; 64,128,256,512 is ResNet-50.
    norm: of the ResNet, `position` or `batch`.
    pooling: `mean`, `stats` (mean, deviation, maximum), `moments` (and covariances), `layers`
        (and the deviation of what every earlier layer gives) or `steps` (and how far tokens move).
    normalise: `none` leaves mV, `scale` divides by `unit` mV, `instance` by the deviation.
    """

    def __init__(
        self,
        *,
        encoder: Annotated[str, one_of(ENCODERS)] = "local",
        widths: Widths = (64, 64, 64, 64),
        norm: Annotated[str, one_of(NORMS)] = "position",
        pooling: Annotated[str, one_of(READ_OUTS)] = "mean",
        normalise: Annotated[str, one_of(SCALINGS)] = "scale",
        unit: Positive = 0.2,
        leads: Count = 1,
    ) -> None:
        super().__init__()
        self.needs = Needs(leads=leads)
        self.encoder = Backbone(
            encoder=encoder,
            widths=widths,
            norm=norm,
            pooling=pooling,
            normalise=normalise,
            unit=unit,
            leads=leads,
        )

    def embed(self, x: Tensor, valid: Tensor) -> Tensor:
        """Pool the encoder's tokens."""
        return self.encoder.pooled(x, valid)
