"""NERULA: a dual-pathway self-supervised learning framework for ECG (Manimaran et al. 2024)."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from nerula.augment import augment, patch_masks
from nerula.bounds import (
    COUNT,
    NUMBER,
    Count,
    Number,
    Part,
    Positive,
    Share,
    Weight,
    Widths,
    divides,
    multiple,
    one_of,
    pairs,
    rising,
)
from nerula.encoders import PIECE, Encoder, Tokens, overlapping
from nerula.encoders.heads import PooledProjection, Target, VectorProjection, mlp
from nerula.encoders.local import LocalDecoder, LocalEncoder
from nerula.encoders.pool import READ_OUTS, learnt, pool, read_out
from nerula.encoders.resnet import ResNet
from nerula.encoders.scale import SCALINGS, Scaled, inputs, scale
from nerula.errors import UsageError
from nerula.loss import effective_rank, huber, negative_cosine, spread
from nerula.method import Batch, Method, Needs

VIEWS = ("masks", "augmentation", "neighbours")
ENCODERS = ("local", "resnet")
ALIGNMENTS = ("pooled", "vector", "direct")
Pairs = Sequence[Sequence[int]]


class Views(NamedTuple):
    """The two views of a batch, one after the other: (2 B, L, T) each."""

    x: Tensor
    """What the encoder is given."""
    visible: Tensor
    """Where it may look."""
    truth: Tensor
    """What the decoder has to give back."""
    measured: Tensor
    """Where the truth is known."""


class Nerula(Method):
    """Two pathways from one encoder: aligned views, and the signal rebuilt from each.

    A mask `m` of exactly half of the samples (`fraction`), in 4 to 30 `patches` where the paper
    has 15 to 30, makes two views of a recording (equations 5 and 6)::

        x_i = m x        x_j = (1 - m) x

    The encoder carries the masks through every layer (section 4.2). The loss is::

        L = align_weight * L_nc + recon_weight * L_recon             (1 and 10)
        L_nc = -E[<f(x_i), f(x_j)> / (|f(x_i)| |f(x_j)|)]            (equation 7)
        L_recon = Huber_delta(x, decoder(latents of the view))       (equation 8)

    Where this differs from the text. Taken literally, equation 7 compares vectors that are zero
    wherever the other is not: it is 0 and has no gradient. So `alignment` says what is compared:

    - `pooled`: the latents' mean over the visible positions (with the default `pooling` their
      deviation and maximum too), through a projector g and a predictor q, with a target of the
      other view that gets no gradient (Grill et al. 2020);
    - `vector`: the same with one value for each of 128 positions, masked at complementary places;
    - `direct`: equation 7 on the pooled latents, with nothing else.

    So for the first two, with the target's g'::

        L_nc = -(cos(q(g_i), g'_j) + cos(q(g_j), g'_i)) / 2

    The target is the online network itself, detached, where its rate `ema` is 0 (Chen and He
    2021), as by default; else a moving average of it, which takes r = `ema` to 1 along a cosine.

    Arguments
    ---------
    views: what makes a pair: complementary `masks`, two `augmentation`s, or two `neighbours`
        (adjacent segments); with the last two nothing is masked.
    fraction: share of the samples that the first view sees; the second sees the others.
    patches: how few and how many patches a mask has. The paper's 15 to 30 hide a quarter of a
        second on average; with as few as 4, gaps of a second and more are learned too.
    latent_masking: False gives the encoder zeros for the hidden samples and does not tell it.
    alignment: what the non-contrastive pathway compares: `pooled`, `vector` or `direct`.
    align_weight: weight of L_nc; 0 leaves it out.
    ema: rate of the moving-average target; 0 compares with the network itself, detached.
    projector: values that projector and predictor give; twice as many inside.
    reconstruction: the second pathway; without it gaps cannot be filled.
    recon_weight: weight of L_recon.
    both_views: rebuild the signal from both views; the paper, from one.
    huber_delta: where the Huber loss turns from squares to distances, in the encoder's units.
    pooling: `mean`, `stats` (mean, deviation, maximum), `moments` (and covariances), `layers`
        (and the deviation of what every earlier layer gives) or `steps` (and how far tokens move).
    normalise: `none` leaves mV; `scale` takes out the mean of what is visible and divides by
        `unit` mV; `instance` divides by its standard deviation and gives that as another lead.
    encoder: `local`, masked convolutions and windowed attention, or `resnet`.
    width: values per token.
    heads: of the attention.
    rotary: let attention tell distances apart, by angles.
    stem: channels and stride of each convolution before the attention.
    kernel: samples of these convolutions.
    separable: split them into one over time and one over channels.
    widening: convolutions k5 between the stem's width and the attention's.
    blocks: reach (tokens to either side; 0 for all) and stride of each block.
    resnet_widths: channels of the ResNet's stages, a quarter of what they give.
    decoder_width: values per token in the decoder.
    decoder_depth: its blocks.
    decoder_reach: how many tokens to either side they attend to.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "patches": (15, 30),
            "ema": 0.99,
            "normalise": "none",
            "pooling": "mean",
            "stem": ((24, 2), (48, 2), (96, 2), (96, 1)),
            "separable": True,
            "widening": 2,
            "blocks": ((9, 1),) * 7 + ((0, 1),) * 3,
            "rotary": False,
            "decoder_depth": 2,
        },
    }

    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"lr": 1e-4, "weight_decay": 0.0},
    }
    training_only = ("projection", "predictor", "target")

    def __init__(
        self,
        *,
        views: Annotated[str, one_of(VIEWS)] = "masks",
        fraction: Part = 0.5,
        patches: Annotated[Sequence[int], rising(COUNT)] = (4, 30),
        latent_masking: bool = True,
        alignment: Annotated[str, one_of(ALIGNMENTS)] = "pooled",
        align_weight: Weight = 1.0,
        ema: Share = 0.0,
        projector: Count = 256,
        reconstruction: bool = True,
        recon_weight: Weight = 10.0,
        both_views: bool = False,
        huber_delta: Positive = 1.0,
        pooling: Annotated[str, one_of(READ_OUTS)] = "steps",
        normalise: Annotated[str, one_of(SCALINGS)] = "scale",
        unit: Positive = 0.2,
        leads: Count = 1,
        encoder: Annotated[str, one_of(ENCODERS)] = "local",
        width: Count = 128,
        heads: Annotated[int, COUNT, divides("width")] = 4,
        rotary: bool = True,
        stem: Annotated[Pairs, pairs(COUNT, COUNT)] = ((32, 2), (64, 2), (128, 2)),
        kernel: Annotated[int, COUNT, multiple(2, 1)] = 9,
        separable: bool = False,
        widening: Number = 0,
        blocks: Annotated[Pairs, pairs(NUMBER, COUNT)] = ((9, 1), (9, 1), (9, 1), (9, 1)),
        resnet_widths: Widths = (64, 64, 64, 64),
        decoder_width: Annotated[int, COUNT, multiple(8)] = 128,
        decoder_depth: Number = 1,
        decoder_reach: Count = 16,
    ) -> None:
        super().__init__()
        if not (align_weight or (reconstruction and recon_weight)):
            raise UsageError(
                "Without the alignment and without the reconstruction there is nothing to learn.",
                "Give --align-weight or --recon-weight more than 0.",
            )
        if encoder == "local" and rotary and width % (2 * heads):
            raise UsageError(
                f"--rotary turns pairs of values; --heads {heads} leave each of --width {width} "
                "an odd number.",
                "Change one of the two, or add --no-rotary.",
            )
        self.needs = Needs(leads=leads, segments=2 if views == "neighbours" else 1)
        self.views, self.fraction, self.patches = views, fraction, (patches[0], patches[1])
        self.latent_masking, self.alignment, self.ema = latent_masking, alignment, ema
        self.align_weight, self.recon_weight = align_weight, recon_weight
        self.both_views, self.huber_delta = both_views, huber_delta
        self.pooling, self.normalise, self.unit = pooling, normalise, unit

        self.encoder: Encoder
        if encoder == "local":
            self.encoder = LocalEncoder(
                leads=inputs(leads, normalise),
                stem=[(channels, stride) for channels, stride in stem],
                kernel=kernel,
                separable=separable,
                widening=widening,
                blocks=[(reach, stride) for reach, stride in blocks],
                width=width,
                heads=heads,
                rotary=rotary,
            )
        else:
            self.encoder = ResNet(leads=inputs(leads, normalise), widths=resnet_widths)
        self.decoder = None
        if reconstruction:
            self.decoder = LocalDecoder(
                self.encoder.width,
                self.encoder.stride,
                leads=leads,
                width=decoder_width,
                depth=decoder_depth,
                reach=decoder_reach,
            )
        self.projection: PooledProjection | VectorProjection | None = None
        self.target: Target | None = None
        if alignment != "direct" and align_weight:
            if alignment == "vector":
                self.projection = VectorProjection(self.encoder.width, 2 * projector, projector)
            else:
                self.projection = PooledProjection(
                    self.encoder.width, pooling, 2 * projector, projector
                )
            self.predictor = mlp(projector, 2 * projector, projector)
            if ema:
                self.target = Target(self.encoder, self.projection)

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Compute the loss, its parts, and the spread and effective rank of the embeddings."""
        views = self._views(batch)
        scaled = scale(views.x, views.visible, self.normalise, self.unit)
        tokens = self._encode(self.encoder, scaled)
        with torch.no_grad():
            first = Tokens(*(part[: len(batch.x)] for part in tokens))
            watched = pool([first], learnt(self.pooling))
        parts = {"spread": spread(watched), "rank": effective_rank(watched)}
        loss = tokens.values.new_zeros((), dtype=torch.float32)
        if self.align_weight:
            parts["align"] = self._align(tokens, scaled)
            loss = loss + self.align_weight * parts["align"]
        if self.decoder is not None:
            parts["recon"] = self._rebuild(self.decoder, tokens, views, scaled)
            loss = loss + self.recon_weight * parts["recon"]
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def embed(self, x: Tensor, valid: Tensor) -> Tensor:
        """Pool the latents of everything that is valid; any length, in bounded memory."""
        return self._read_out(x, valid, self.pooling)

    def watched(self, x: Tensor, valid: Tensor) -> Tensor:
        """The latents alone: earlier layers would hide that they are all the same."""
        return self._read_out(x, valid, learnt(self.pooling))

    def _read_out(self, x: Tensor, valid: Tensor, pooling: str) -> Tensor:
        scaled = scale(x, valid, self.normalise, self.unit)
        return read_out(self.encoder, scaled.x, scaled.visible, pooling)

    def decode(self, x: Tensor, valid: Tensor) -> Tensor:
        """Rebuild all from what is valid, in mV; any length, in bounded memory."""
        if self.decoder is None:
            raise UsageError("This model was trained without its reconstruction path.")
        scaled = scale(x, valid, self.normalise, self.unit)
        context = self.encoder.context
        reach = None if context is None else context + self.decoder.context
        grid = math.lcm(self.encoder.grid, self.decoder.grid)
        pieces = []
        for window, keep in overlapping(x.shape[-1], PIECE, reach, grid):
            seen = scaled.x[..., window], scaled.visible[..., window]
            rebuilt = self.decoder(self.encoder(*seen), seen[0].shape[-1])
            pieces.append(rebuilt[..., keep].float())
        return scaled.out(torch.cat(pieces, dim=-1))

    def after_start(self) -> None:
        """Let the target begin as the online network does."""
        if self.target is not None and self.projection is not None:
            self.target = Target(self.encoder, self.projection)

    def after_step(self, progress: float) -> None:
        """Move the target towards the online network, from rate `ema` to 1 along a cosine."""
        if self.target is not None and self.projection is not None:
            self.target.follow(self.encoder, self.projection, rate=self.ema, progress=progress)

    def _views(self, batch: Batch) -> Views:
        x, valid = batch.x[:, 0], batch.valid[:, 0]
        if self.views == "neighbours":
            both = torch.cat([x, batch.x[:, 1]]), torch.cat([valid, batch.valid[:, 1]])
            return Views(*both, *both)
        if self.views == "augmentation":
            pairs = [augment(x, valid, batch.generator) for _ in range(2)]
            both = torch.cat([pairs[0][0], pairs[1][0]]), torch.cat([pairs[0][1], pairs[1][1]])
            return Views(*both, *both)
        first = patch_masks(
            x.shape[0],
            x.shape[-1],
            batch.generator,
            fraction=self.fraction,
            patches=self.patches,
            device=x.device,
        ).unsqueeze(1)
        masks = torch.cat([first, ~first])
        x, valid = x.repeat(2, 1, 1), valid.repeat(2, 1, 1)
        if self.latent_masking:
            return Views(x, valid & masks, x, valid)
        return Views(torch.where(masks, x, 0.0), valid, x, valid)

    def _encode(self, encoder: Encoder, scaled: Scaled) -> Tokens:
        """Both views: complementary masks share one pass."""
        complementary = self.views == "masks" and self.latent_masking
        encode = encoder.pair if complementary else encoder
        tokens: Tokens = encode(scaled.x, scaled.visible)
        return tokens

    def _align(self, tokens: Tokens, scaled: Scaled) -> Tensor:
        """The non-contrastive pathway: each view against the other's target."""
        if self.projection is None:
            first, second = pool([tokens], learnt(self.pooling)).chunk(2)
            return negative_cosine(first, second)
        online = self.projection(tokens)
        aim = online.detach()
        if self.target is not None:
            with torch.no_grad():
                aim = self.target.projection(self._encode(self.target.encoder, scaled))
        return negative_cosine(self.predictor(online), aim.roll(len(aim) // 2, 0))

    def _rebuild(
        self, decoder: LocalDecoder, tokens: Tokens, views: Views, scaled: Scaled
    ) -> Tensor:
        """The reconstruction pathway, compared in the units of the encoder's input."""
        count = len(views.x) if self.both_views else len(views.x) // 2
        truth = torch.where(views.measured, scaled.into(views.truth), 0.0)[:count]
        rebuilt = decoder(Tokens(*(part[:count] for part in tokens)), truth.shape[-1])
        return huber(rebuilt, truth, views.measured[:count], self.huber_delta)
