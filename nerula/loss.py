"""Losses, and the two numbers that show a collapse. All of them compute in float32."""

import torch
from torch import Tensor
from torch.nn import functional as F


def negative_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Mean of `-<a, b> / (|a| |b|)` over the batch (NERULA, equation 7); zero for zero vectors."""
    return -F.cosine_similarity(a.float(), b.float(), dim=-1, eps=1e-6).mean()


def huber(predicted: Tensor, truth: Tensor, where: Tensor, delta: float = 1.0) -> Tensor:
    """Huber loss (NERULA, equation 8), averaged over the samples in `where`."""
    loss = F.huber_loss(predicted.float(), truth.float(), reduction="none", delta=delta)
    return (loss * where).sum() / where.sum().clamp(min=1)


def spread(z: Tensor) -> Tensor:
    """Standard deviation over the batch of the unit-length embeddings, times sqrt(D).

    1 for embeddings in all directions alike, 0 where all recordings share one embedding.
    """
    unit = F.normalize(z.detach().float(), dim=-1)
    return unit.std(dim=0, correction=0).square().sum().sqrt()


def effective_rank(z: Tensor) -> Tensor:
    """Participation ratio of the covariance's eigenvalues, `(sum l)^2 / sum l^2`.

    The number of directions that the embeddings of a batch really use: from 1 to D. Two traces
    give it without a decomposition, so that it costs nothing to watch.
    """
    centred = z.detach().float()
    centred = centred - centred.mean(dim=0)
    covariance = centred.T @ centred
    trace = covariance.diagonal().sum()
    return trace.square() / covariance.square().sum().clamp(min=torch.finfo(torch.float32).tiny)
