"""Losses, and the two numbers that show a collapse. All of them compute in float32 at least."""

import torch
from torch import Tensor
from torch.nn import functional as F

from nerula.precision import in_full
from nerula.together import gathered, per_rank, place

NOBODY = -1e4
"""The score of what is not compared; finite, because a batch may hold no other subject at all."""


def negative_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Mean of `-<a, b> / (|a| |b|)` over the batch (NERULA, equation 7); zero for zero vectors."""
    return -F.cosine_similarity(in_full(a), in_full(b), dim=-1, eps=1e-6).mean()


def huber(predicted: Tensor, truth: Tensor, where: Tensor, delta: float = 1.0) -> Tensor:
    """Huber loss (NERULA, equation 8), averaged over the samples in `where`."""
    loss = F.huber_loss(in_full(predicted), in_full(truth), reduction="none", delta=delta)
    return (loss * where).sum() / per_rank(where)


def masked_mse(predicted: Tensor, truth: Tensor, where: Tensor) -> Tensor:
    """Mean squared error over the samples in `where`."""
    loss = (in_full(predicted) - in_full(truth)).square()
    return (loss * where).sum() / per_rank(where)


def cross_entropy(outputs: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean of rows (B, C) of all ranks, each weighted by its class."""
    total = weights[labels].sum()
    share = total / gathered(total.view(1)).mean()
    return share * F.cross_entropy(in_full(outputs), labels, weights)


def spread(z: Tensor) -> Tensor:
    """Standard deviation over the batch of the unit-length embeddings, times sqrt(D).

    1 for embeddings in all directions alike, 0 where all recordings share one embedding.
    """
    unit = F.normalize(in_full(z.detach()), dim=-1)
    return unit.std(dim=0, correction=0).square().sum().sqrt()


def effective_rank(z: Tensor) -> Tensor:
    """Participation ratio of the eigenvalues of the unit-length embeddings' covariance.

    `(sum l)^2 / sum l^2`, the number of directions that the embeddings of a batch really use: from
    1 to D. Of unit length, because one recording in a hundred of a thousand times the others'
    length would be all that the covariance knows. Two traces give it without a decomposition, so
    that it costs nothing to watch.
    """
    unit = F.normalize(in_full(z.detach()), dim=-1)
    centred = unit - unit.mean(dim=0)
    covariance = centred.T @ centred
    trace = covariance.diagonal().sum()
    return trace.square() / covariance.square().sum().clamp(min=torch.finfo(torch.float32).tiny)


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.5) -> Tensor:
    """Normalised temperature-scaled cross-entropy (Chen et al. 2020, equation 1).

    Each of the 2 B embeddings (B, D) has to find its other view among the 2 B - 1 others, of all
    ranks.
    """
    a, b = _unit(first), _unit(second)
    keys = torch.cat([gathered(a), gathered(b)])
    anchor = torch.arange(len(a), device=a.device) + place()[0] * len(a)
    half = len(keys) // 2
    own = torch.cat([anchor, anchor + half])
    logits = _scores(torch.cat([a, b]), keys, temperature)
    logits = logits.scatter(1, own.unsqueeze(1), -torch.inf)
    return F.cross_entropy(logits, (own + half) % len(keys))


def info_nce(first: Tensor, second: Tensor, subject: Tensor, temperature: float = 0.1) -> Tensor:
    """Symmetric InfoNCE with the subject's other segments as positives (Kiyasseh et al. 2021).

    For row i of `first` (B, D), every row j of `second` of the same subject (B,) is a positive:
    the mean over all such pairs of -log(exp(s_ij) / sum_k exp(s_ik)), over the rows of all ranks;
    and the same with the parts exchanged. -1 is nobody's subject: only its own row is positive.
    """
    a, b = _unit(first), _unit(second)
    subjects = gathered(subject.unsqueeze(1)).squeeze(1)
    row = torch.arange(len(a), device=a.device) + place()[0] * len(a)
    column = torch.arange(len(subjects), device=a.device)
    same = (subject.unsqueeze(1) == subjects) & (subject.unsqueeze(1) >= 0)
    same |= row.unsqueeze(1) == column
    pairs = per_rank(same)
    there = _scores(a, gathered(b), temperature).log_softmax(1)
    back = _scores(b, gathered(a), temperature).log_softmax(1)
    return -((there + back) * same).sum() / (2 * pairs)


def frame_contrast(
    context: Tensor,
    target: Tensor,
    label: Tensor,
    negatives: Tensor,
    *,
    where: Tensor,
    temperature: float = 0.1,
) -> Tensor:
    """InfoNCE of frames within one segment (wav2vec 2.0, equation 3), over frames in `where`.

    Each context (B, M, D) has to find the target (B, M, D) of its own frame among those of the
    frames in `negatives` (B, M, N). A negative of the same `label` (B, M) is no negative.
    """
    with torch.autocast(context.device.type, enabled=False):
        score = _unit(context) @ _unit(target).transpose(1, 2) / temperature
    own = score.diagonal(dim1=1, dim2=2)
    other = label.unsqueeze(1).expand(-1, label.shape[1], -1).gather(2, negatives)
    drawn = score.gather(2, negatives).masked_fill(other == label.unsqueeze(2), -torch.inf)
    each = torch.logsumexp(torch.cat([own.unsqueeze(2), drawn], dim=2), dim=2) - own
    return (each * where).sum() / per_rank(where)


def diversity(shares: Tensor, where: Tensor) -> Tensor:
    """Share of the code books that is not used (wav2vec 2.0, equation 4, as released).

    `shares` (..., groups, entries) are the softmax of each frame; their mean over the frames in
    `where` (...), of all ranks, has a perplexity for each book: 1 - sum of those / all entries.
    """
    total = (in_full(shares) * where[..., None, None]).flatten(0, -3).sum(0)
    mean = gathered(total.unsqueeze(0)).mean(0) / per_rank(where)
    used = torch.exp(-torch.xlogy(mean, mean).sum(-1)).sum()
    return 1 - used / mean.numel()


def mean_square(values: Tensor, where: Tensor) -> Tensor:
    """Mean of the squares of the values (..., D) in `where` (...), as of all ranks together."""
    squares = in_full(values).square().mean(-1)
    return (squares * where).sum() / per_rank(where)


def aligned(own: Tensor, there: Tensor, tokens: Tensor, known: Tensor, margin: float) -> Tensor:
    """Triplet loss between the tokens of leads, in closed form: one value per own lead (G,).

    `own` (G, B, S, D) are drawn towards the `tokens` (L, B, S, D) of all leads at the same place
    of the same recording, and away from those of the recording before it in the batch, by
    `relu(margin + cos(own, before) - cos(own, same))`: the mean over all leads, recordings and
    places where all three are known, by `there` (G, B, S) and `known` (L, B, S).
    """
    with torch.autocast(own.device.type, enabled=False):
        a, b = (_unit(one).permute(1, 2, 0, 3) for one in (own, tokens))  # (B, S, leads, D)
        near, far = a @ b.transpose(2, 3), a @ b.roll(1, 0).transpose(2, 3)
    counted = (known & known.roll(1, 1)).permute(1, 2, 0).unsqueeze(2)
    counted = counted & there.permute(1, 2, 0).unsqueeze(3)
    loss = F.relu(margin + far - near) * counted
    return loss.sum((0, 1, 3)) / counted.sum((0, 1, 3)).clamp(min=1)


def told_apart(
    own: Tensor,
    there: Tensor,
    tokens: Tensor,
    known: Tensor,
    *,
    subject: Tensor,
    temperature: float,
) -> Tensor:
    """InfoNCE between the tokens of leads: one value per own lead (G,).

    As in `aligned`, but each of `own` has to find its recording in every lead, among those of all
    other subjects of the batch in all leads. Where each lead was searched by itself, leads came
    to lie apart as wholes. The first place, which speaks for the whole recording, counts as
    much as all others together.
    """
    with torch.autocast(own.device.type, enabled=False):
        scores = torch.einsum("gbsd,lcsd->gsblc", _unit(own), _unit(tokens)) / temperature
    stranger = (subject[:, None] != subject) | (subject < 0)
    stranger = stranger & ~torch.eye(len(subject), dtype=torch.bool, device=subject.device)
    asked = known.permute(2, 0, 1)[:, None] & stranger[:, None]  # (S, B, L, C)
    others = scores.masked_fill(~asked, NOBODY).flatten(3).logsumexp(3, keepdim=True)
    right = scores.diagonal(dim1=2, dim2=4).transpose(2, 3)
    counted = known.permute(2, 1, 0) & there.permute(0, 2, 1).unsqueeze(3)  # (G, S, B, L)
    loss = torch.where(counted, F.softplus(others - right), 0.0).sum((2, 3))
    each = loss / counted.sum((2, 3)).clamp(min=1)
    return (each[:, 0] + each[:, 1:].mean(1)) / 2


def over_leads(own: Tensor, leads: int) -> Tensor:
    """The mean over all `leads` of a loss of which this rank knows those of its `own` leads (G,).

    Every rank has the value of all; the gradient is its own leads', times the ranks, because the
    loop takes the mean over the ranks.
    """
    mine = own.sum() / leads
    if len(own) == leads:
        return mine
    ranks = leads // len(own)
    return ranks * mine + (gathered(own.detach()).sum() / leads - ranks * mine.detach())


def _unit(z: Tensor) -> Tensor:
    return F.normalize(in_full(z), dim=-1, eps=1e-6)


def _scores(anchors: Tensor, keys: Tensor, temperature: float) -> Tensor:
    with torch.autocast(anchors.device.type, enabled=False):
        return anchors @ keys.T / temperature
