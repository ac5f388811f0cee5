"""A signal cut into patches, lead by lead, for encoders that see some of them."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nerula.encoders.scale import Scaled


class Patches(NamedTuple):
    """A batch cut into patches, lead by lead: (L, B, N, samples)."""

    values: Tensor
    """Zero where nothing was measured."""
    seen: Tensor

    @property
    def there(self) -> Tensor:
        """Patches (L, B, N) with anything in them."""
        return self.seen.any(-1)

    def pieces(self, longest: int) -> Iterator["Patches"]:
        """Cut where more than the `longest` number follow each other."""
        for start in range(0, self.values.shape[2], longest):
            yield Patches(*(one[:, :, start : start + longest] for one in self))


def cut(scaled: Scaled, samples: int) -> Patches:
    """Patches of so many samples, the last one filled up with what is not there."""
    short = -scaled.x.shape[-1] % samples
    values = torch.where(scaled.visible, scaled.x, 0.0)
    both = (F.pad(one, (0, short)).transpose(0, 1) for one in (values, scaled.visible))
    return Patches(*(one.reshape(*one.shape[:2], -1, samples) for one in both))


def kept(one: Tensor, place: Tensor) -> Tensor:
    """Of (L, B, N, ...) what lies at `place` (B, K)."""
    index = place.view(1, *place.shape, *[1] * (one.ndim - 3))
    found: Tensor = one.gather(2, index.expand(len(one), -1, -1, *one.shape[3:]))
    return found
