"""What the ranks of a training do together, so that several with a share of each batch are one.

Rows of all ranks, means over all of them, the statistics of a whole batch, and the random numbers
that one process would draw. Alone, each of these is what it would be without this module.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from nerula.precision import in_full


def place() -> tuple[int, int]:
    """This process' rank, and how many there are."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def gathered(x: Tensor) -> Tensor:
    """The rows of all ranks, in their order; gradients find their way back to each."""
    if place()[1] == 1:
        return x
    rows: Tensor = _Gather.apply(x)  # type: ignore[no-untyped-call]
    return rows


def per_rank(where: Tensor) -> Tensor:
    """How many are in `where`, as a mean over the ranks: at least 1.

    A rank's sum divided by it, averaged over the ranks, is the mean over all of them: a rank that
    has more counts for more.
    """
    return gathered(where.sum().view(1)).float().mean().clamp(min=1)


def drawn(
    shape: Sequence[int],
    generator: torch.Generator,
    draw: Callable[[Tensor], Tensor],
    *,
    views: int = 1,
) -> Tensor:
    """This rank's rows of the random numbers that one process would draw for the whole batch.

    `draw` fills a tensor from the generator, which is in the same state on all ranks. Where the
    rows are several `views` of the batch, one after the other, each is shared among the ranks.
    """
    rank, ranks = place()
    whole = torch.empty(shape[0] * ranks, *shape[1:], device=generator.device)
    numbers = draw(whole)
    if ranks == 1:
        return numbers
    return numbers.view(views, ranks, -1, *shape[1:])[:, rank].flatten(0, 1)


def uniform(shape: Sequence[int], generator: torch.Generator, *, views: int = 1) -> Tensor:
    """Uniform random numbers in [0, 1) for this rank's rows of a batch."""
    return drawn(shape, generator, lambda whole: whole.uniform_(generator=generator), views=views)


class BatchNorm(nn.BatchNorm1d):
    """Normalise each value of (B, C) over the whole batch, of which every rank has as much."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; with several ranks in one message, which also works without a GPU."""
        ranks = place()[1]
        if ranks == 1 or not self.training:
            return super().forward(x)
        values = in_full(x)
        own = torch.stack([values.mean(0), values.var(0, correction=0)])
        means, variances = gathered(own.unsqueeze(0)).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        with torch.no_grad():
            self._remember(mean, variance, ranks * len(x))
        normal = (values - mean) * (variance + self.eps).rsqrt()
        return (normal * self.weight + self.bias if self.affine else normal).to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics; the variance's is the unbiased one, as torch has it."""
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            raise TypeError("a BatchNorm without running statistics")
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / max(1, count - 1), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


class _Gather(torch.autograd.Function):
    """Gather rows over the ranks; backward adds up what all ranks say about each row.

    The loop averages gradients over the ranks, so each rank's mean loss over its own anchors has
    the gradient of one process with all rows.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        whole = grads[0].contiguous()
        distributed.all_reduce(whole)
        first = distributed.get_rank() * ctx.rows
        return whole[first : first + ctx.rows]
