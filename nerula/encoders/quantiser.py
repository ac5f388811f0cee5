"""A product quantiser: a few code books, one entry of each chosen by Gumbel softmax.

Baevski et al. 2020, https://arxiv.org/abs/2006.11477, section 2; Jang et al. 2017.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nerula.precision import in_full
from nerula.together import drawn


class Quantised(NamedTuple):
    """What a quantiser made of (..., inputs)."""

    values: Tensor
    """(..., width): the chosen entries, one after the other."""
    shares: Tensor
    """(..., groups, entries): how likely each entry is, without noise and temperature."""
    codes: Tensor
    """(..., groups) int64: the chosen entries' numbers."""


class Quantiser(nn.Module):
    """`groups` code books of `entries`, which give `width` values together.

    One entry of each book is used whole; its gradient is that of the softmax (straight through).
    """

    def __init__(self, inputs: int, *, groups: int, entries: int, width: int) -> None:
        super().__init__()
        self.groups, self.entries = groups, entries
        self.choice = nn.Linear(inputs, groups * entries)
        self.book = nn.Parameter(torch.rand(groups, entries, width // groups))
        nn.init.normal_(self.choice.weight)
        nn.init.zeros_(self.choice.bias)

    def forward(
        self, x: Tensor, temperature: float, generator: torch.Generator, *, views: int = 1
    ) -> Quantised:
        """Choose with Gumbel noise at this temperature, for so many views of a batch."""
        with torch.autocast(x.device.type, enabled=False):
            score = self.choice(in_full(x)).unflatten(-1, (self.groups, self.entries))
            waiting = drawn(
                score.shape,
                generator,
                lambda whole: whole.exponential_(generator=generator),
                views=views,
            )
            soft = torch.softmax((score - waiting.log()) / temperature, dim=-1)
            codes = soft.argmax(-1)
            hard = torch.zeros_like(soft).scatter_(-1, codes.unsqueeze(-1), 1.0)
            chosen = hard + soft - soft.detach()
            values = torch.einsum("...gn,gnd->...gd", chosen, self.book).flatten(-2)
            return Quantised(values, score.softmax(-1), codes)
