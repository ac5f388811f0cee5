"""wav2vec 2.0, CMSC and random lead masking (Oh et al. 2022, https://arxiv.org/abs/2203.06889)."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from nerula.augment import fewer_leads, spans
from nerula.bounds import (
    COUNT,
    BelowOne,
    Count,
    Counts,
    Number,
    Part,
    Positive,
    Share,
    Weight,
    divides,
    one_of,
)
from nerula.encoders.pool import LAYERED, READ_OUTS, learnt, pool, pool_layers
from nerula.encoders.quantiser import Quantised, Quantiser
from nerula.encoders.scale import SCALINGS, inputs, scale
from nerula.encoders.wav2vec import NORMS, Wav2Vec
from nerula.errors import UsageError
from nerula.loss import diversity, effective_rank, frame_contrast, info_nce, mean_square, spread
from nerula.method import Batch, Method, Needs
from nerula.together import gathered, uniform

SEGMENTS = 2
LONGEST = 1024
"""Tokens that meet in one attention; a longer signal is taken in pieces."""


class W2vCmscRlm(Method):
    """What is missing inside a segment, which segments belong together, and any set of leads.

    Two adjacent segments of each recording through one network, some leads and some spans of time
    hidden; three parts, each of which can be switched off::

        w2v   -mean over hidden frames of log( exp(cos(c, q) / t) / sum_q' exp(cos(c, q') / t) )
              + diversity_weight * (1 - perplexity of the code books / entries)
              + penalty_weight * mean square of the convolutions' features
        cmsc  symmetric InfoNCE between the segments' mean context vectors, as of CLOCS
        rlm   each lead of each segment is taken away by chance, at least one stays

    c is the context at a hidden frame, q the quantised features there, both through a linear
    layer; q' is q and those of `negatives` other hidden frames of the same segment. The code
    books' choice is noisy: the Gumbel softmax cools from `hot` to `cold` within the first
    `cooling` of the run, however long that is.

    A lead that a recording lacks is a lead that was masked: so a model trained with `rlm` takes
    any set of leads.

    Differs from the released code: dropout leaves the attention's weights alone, so that attention
    is one fused step; runs that are hidden are as many in each segment as chance gives, not cut to
    the least of the batch; the learning rate rises and falls, as for every method here, where the
    released code keeps it constant.

    Arguments
    ---------
    w2v: the local contrastive objective.
    cmsc: the objective across the two segments.
    rlm: random lead masking.
    lead_chance: with which a lead is hidden.
    hidden: share of the frames that would be hidden if no spans overlapped.
    span: frames of a hidden span.
    negatives: frames to tell the right one from.
    temperature: t, of both contrastive objectives.
    groups: code books.
    entries: of each code book.
    codes: values of a quantised frame, and of what is compared with it.
    hot: temperature of the Gumbel softmax at the beginning.
    cold: its last temperature.
    cooling: share of the run after which it is cold.
    diversity_weight: of the unused part of the code books.
    penalty_weight: of the features' mean square.
    channels: of the convolutions, each of stride 2.
    norm: of the convolutions: `layer`, each position by itself, or `group`, over time.
    width: of the transformer.
    depth: blocks of the transformer.
    heads: of the attention.
    kernel: tokens of the convolution that says where a token is.
    kernel_groups: parts of that convolution.
    post: normalise after each sum, as the released code does, not before.
    dropout: in the transformer, from torch's own random numbers.
    pooling: `mean`, `stats` (mean, deviation, maximum), `moments` (and covariances), `layers`
        (and the deviation of what every earlier layer gives) or `steps` (and how far tokens move).
    normalise: `none` leaves mV, `scale` divides by `unit` mV, `instance` by the deviation.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "span": 10,
            "entries": 320,
            "codes": 256,
            "channels": (256, 256, 256, 256),
            "norm": "group",
            "width": 768,
            "depth": 12,
            "heads": 12,
            "kernel": 128,
            "post": True,
            "dropout": 0.1,
            "pooling": "mean",
            "normalise": "none",
        },
    }
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"lr": 5e-5, "beta2": 0.98, "weight_decay": 0.01, "batch": 512, "window": 10.0},
    }
    training_only = ("local",)

    def __init__(
        self,
        *,
        w2v: bool = True,
        cmsc: bool = True,
        rlm: bool = True,
        lead_chance: Share = 0.5,
        hidden: Part = 0.65,
        span: Count = 4,
        negatives: Count = 100,
        temperature: Positive = 0.1,
        groups: Annotated[int, COUNT, divides("codes")] = 2,
        entries: Count = 64,
        codes: Count = 64,
        hot: Positive = 2.0,
        cold: Positive = 0.5,
        cooling: Share = 0.7,
        diversity_weight: Weight = 0.1,
        penalty_weight: Weight = 10.0,
        channels: Counts = (64, 128, 128),
        norm: Annotated[str, one_of(NORMS)] = "layer",
        width: Count = 192,
        depth: Number = 4,
        heads: Annotated[int, COUNT, divides("width")] = 6,
        kernel: Count = 25,
        kernel_groups: Annotated[int, COUNT, divides("width")] = 16,
        post: bool = False,
        dropout: BelowOne = 0.0,
        pooling: Annotated[str, one_of(READ_OUTS)] = "steps",
        normalise: Annotated[str, one_of(SCALINGS)] = "scale",
        unit: Positive = 0.2,
        leads: Count = 12,
    ) -> None:
        super().__init__()
        if not (w2v or cmsc):
            raise UsageError("Without w2v and without cmsc there is no objective.")
        self.needs = Needs(leads=leads, segments=SEGMENTS)
        self.cmsc, self.rlm, self.lead_chance = cmsc, rlm, lead_chance
        self.any_leads = rlm
        self.temperature, self.hot, self.cold, self.cooling = temperature, hot, cold, cooling
        self.diversity_weight, self.penalty_weight = diversity_weight, penalty_weight
        self.pooling, self.normalise, self.unit = pooling, normalise, unit
        self.encoder = Wav2Vec(
            inputs(leads, normalise),
            channels=channels,
            norm=norm,
            width=width,
            depth=depth,
            heads=heads,
            kernel=kernel,
            groups=kernel_groups,
            post=post,
            dropout=dropout,
        )
        self.local = None
        if w2v:
            quantiser = Quantiser(channels[-1], groups=groups, entries=entries, width=codes)
            self.local = Local(
                quantiser, width, codes, hidden=hidden, span=span, negatives=negatives
            )

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Compute the parts that are switched on, from one pass through the network."""
        x, valid = (torch.cat([one[:, 0], one[:, 1]]) for one in (batch.x, batch.valid))
        if self.rlm:
            valid = fewer_leads(valid, batch.generator, self.lead_chance, views=SEGMENTS)
        scaled = scale(x, valid, self.normalise, self.unit)
        values, there = self.encoder.front(scaled.x, scaled.visible)
        features = self.encoder.norm(values)
        h, masked = self.encoder.entered(features), None
        if self.local is not None:
            masked = self.local.masked(there, batch.generator)
            h = torch.where(masked.unsqueeze(-1), self.local.blank.to(h.dtype), h)
        context = self.encoder.contextual(h, there)
        z = pool([context], "mean")
        loss, parts = z.new_zeros(()), {"spread": spread(z), "rank": effective_rank(z)}
        if self.local is not None and masked is not None:
            found = self.local(
                context.values, features, masked, self._heat(progress), batch.generator
            )
            parts["local"] = self.local.contrast(found, self.temperature)
            parts["diversity"] = diversity(found.quantised.shares, found.where)
            parts["penalty"] = mean_square(values, there)
            loss = parts["local"] + self.diversity_weight * parts["diversity"]
            loss = loss + self.penalty_weight * parts["penalty"]
        if self.cmsc:
            first, second = z.chunk(2)
            parts["cmsc"] = info_nce(first, second, batch.subject, self.temperature)
            loss = loss + parts["cmsc"]
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def embed(self, x: Tensor, valid: Tensor) -> Tensor:
        """Pool the context vectors; a lead that is not valid is one that was masked."""
        return self._read_out(x, valid, self.pooling)

    def watched(self, x: Tensor, valid: Tensor) -> Tensor:
        """The context vectors alone: earlier layers would hide that they are all the same."""
        return self._read_out(x, valid, learnt(self.pooling))

    def _read_out(self, x: Tensor, valid: Tensor, pooling: str) -> Tensor:
        scaled = scale(x, valid, self.normalise, self.unit)
        pieces = self._pieces(scaled.x, scaled.visible)
        if pooling in LAYERED:
            return pool_layers((self.encoder.layers(*piece) for piece in pieces), pooling)
        return pool((self.encoder(*piece) for piece in pieces), pooling)

    def _pieces(self, x: Tensor, visible: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        length = LONGEST * self.encoder.stride
        for start in range(0, x.shape[-1], length):
            piece = slice(start, start + length)
            yield x[..., piece], visible[..., piece]

    def _heat(self, progress: float) -> float:
        """Temperature of the Gumbel softmax: equal shares of the way cool it by equal factors."""
        way = min(1.0, progress / self.cooling) if self.cooling else 1.0
        return float(self.hot * (self.cold / self.hot) ** way)


class Frames(NamedTuple):
    """The hidden frames of each segment, in rows as long as the longest."""

    context: Tensor
    """(B, M, codes)."""
    target: Tensor
    """(B, M, codes), from the quantised features."""
    quantised: Quantised
    negatives: Tensor
    """(B, M, N) numbers of other hidden frames of the segment."""
    where: Tensor
    """(B, M) bool: False for what only fills a row."""


class Local(nn.Module):
    """All that the local objective needs besides the encoder; a model in use needs none of it."""

    def __init__(
        self,
        quantiser: Quantiser,
        width: int,
        codes: int,
        *,
        hidden: float,
        span: int,
        negatives: int,
    ) -> None:
        super().__init__()
        self.hidden, self.span, self.negatives = hidden, span, negatives
        self.quantiser = quantiser
        self.blank = nn.Parameter(torch.rand(width))
        self.from_context, self.from_codes = nn.Linear(width, codes), nn.Linear(codes, codes)

    def masked(self, there: Tensor, generator: torch.Generator) -> Tensor:
        """Which frames (B, T') to hide."""
        return spans(there, generator, probability=self.hidden, length=self.span, views=SEGMENTS)

    def forward(
        self,
        context: Tensor,
        features: Tensor,
        masked: Tensor,
        heat: float,
        generator: torch.Generator,
    ) -> Frames:
        """Gather the hidden frames, quantise their features, draw negatives."""
        count = masked.sum(1)
        most = max(1, int(gathered(count).max()))  # as long on all ranks
        place = masked.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
        where = masked.gather(1, place)
        context, features = (
            one.gather(1, place.unsqueeze(-1).expand(-1, -1, one.shape[-1]))
            for one in (context, features)
        )
        quantised = self.quantiser(features, heat, generator, views=SEGMENTS)
        target = self.from_codes(quantised.values)
        negatives = others(count, most, self.negatives, generator, views=SEGMENTS)
        return Frames(self.from_context(context), target, quantised, negatives, where)

    def contrast(self, found: Frames, temperature: float) -> Tensor:
        """InfoNCE among the hidden frames of a segment."""
        books = self.quantiser.entries ** torch.arange(
            self.quantiser.groups, device=found.where.device
        )
        label = (found.quantised.codes * books).sum(-1)
        return frame_contrast(
            found.context,
            found.target,
            label,
            found.negatives,
            where=found.where,
            temperature=temperature,
        )


def others(
    count: Tensor, most: int, drawn: int, generator: torch.Generator, *, views: int = 1
) -> Tensor:
    """Draw for each of `most` places in a row `drawn` others (B, most, drawn) below its `count`.

    Uniformly, with replacement. Where there is no other, a place is its own.
    """
    shape = (len(count), most, drawn)
    chance = uniform(shape, generator, views=views)
    left = (count - 1).clamp(min=0)[:, None, None]
    other = torch.minimum((chance * left).long(), (left - 1).clamp(min=0))
    own = torch.arange(most, device=count.device)[None, :, None]
    return torch.where(left > 0, other + (other >= own), own)
