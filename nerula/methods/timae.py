"""Ti-MAE: masked autoencoders of time series (Li et al. 2023, https://arxiv.org/abs/2301.08871)."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from nerula.bounds import COUNT, Count, Number, Part, Positive, divides, one_of
from nerula.encoders import Tokens
from nerula.encoders.pool import LAYERED, READ_OUTS, learnt, pool, pool_layers
from nerula.encoders.scale import SCALINGS, Scaled, inputs, scale
from nerula.encoders.transformer import TransformerBlock, sinusoids
from nerula.loss import effective_rank, masked_mse, spread
from nerula.method import Batch, Method, Needs
from nerula.together import uniform

LONGEST = 1024
"""Points that meet in one attention; a longer signal is taken in pieces of this length."""


class Timae(Method):
    """Rebuild three quarters of a signal's points from the quarter that the encoder sees.

    Each point is a token: a convolution k3 over time, plus sinusoidal positions. A random quarter
    of them goes through the encoder; the decoder gets what comes out at its places, a learned
    token everywhere else, and gives every point back::

        L = mean over the masked points of (decoded - x)^2

    As published, the embedding's kernel is applied before the masking, so a visible point knows
    its two neighbours. What was never measured is masked in any case and never asked for.

    Differs from the paper: the embedding of a recording is the mean of the encoder's tokens, all
    points visible; positions begin anew every 1,024 points.

    Arguments
    ---------
    fraction: share of the points that is masked.
    width: of the encoder's tokens.
    depth: blocks of the encoder.
    heads: of the attention.
    decoder_width: of the decoder's tokens.
    decoder_depth: blocks of the decoder.
    pooling: `mean`, `stats` (mean, deviation, maximum), `moments` (and covariances), `layers`
        (and the deviation of what every earlier layer gives) or `steps` (and how far tokens move).
    normalise: `none` leaves mV, `scale` divides by `unit` mV, `instance` by the deviation.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}}
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"lr": 1e-3}}

    def __init__(
        self,
        *,
        fraction: Part = 0.75,
        width: Count = 64,
        depth: Number = 2,
        heads: Annotated[int, COUNT, divides("width", "decoder_width")] = 4,
        decoder_width: Count = 32,
        decoder_depth: Number = 2,
        pooling: Annotated[str, one_of(READ_OUTS)] = "mean",
        normalise: Annotated[str, one_of(SCALINGS)] = "scale",
        unit: Positive = 0.2,
        leads: Count = 1,
    ) -> None:
        super().__init__()
        self.needs, self.fraction, self.pooling = Needs(leads=leads), fraction, pooling
        self.normalise, self.unit = normalise, unit
        self.points = nn.Conv1d(inputs(leads, normalise), width, 3, padding=1)
        self.encoder = nn.ModuleList(TransformerBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.enter = nn.Linear(width, decoder_width)
        self.hidden = nn.Parameter(0.02 * torch.randn(decoder_width))
        self.decoder = nn.ModuleList(
            TransformerBlock(decoder_width, heads) for _ in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(decoder_width)
        self.out = nn.Linear(decoder_width, leads)

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002
        """Compute the squared error on masked points."""
        x, valid = batch.x[:, 0], batch.valid[:, 0]
        scaled = scale(x, valid, self.normalise, self.unit)
        seen = valid.any(1)
        noise = uniform(seen.shape, batch.generator)
        kept, restore = chosen(noise.masked_fill(~seen, 2.0), 1 - self.fraction)
        points = self._points(scaled.x, scaled.visible)
        visible = points.gather(1, kept.unsqueeze(-1).expand(-1, -1, points.shape[-1]))
        there = seen.gather(1, kept)
        latents = self._encode(visible, there)
        rebuilt = self._decode(self._restored(latents, there, restore))
        masked = torch.ones_like(seen).scatter(1, kept, False).unsqueeze(1) & valid
        loss = masked_mse(rebuilt, torch.where(valid, scaled.into(x), 0.0), masked)
        z = pool([Tokens(latents.detach(), there)], learnt(self.pooling))
        return {"loss": loss, "spread": spread(z), "rank": effective_rank(z)}

    def embed(self, x: Tensor, valid: Tensor) -> Tensor:
        """Pool the encoder's tokens of all valid points; any length, in bounded memory."""
        return self._read_out(x, valid, self.pooling)

    def watched(self, x: Tensor, valid: Tensor) -> Tensor:
        """The tokens alone: earlier layers would hide that they are all the same."""
        return self._read_out(x, valid, learnt(self.pooling))

    def _read_out(self, x: Tensor, valid: Tensor, pooling: str) -> Tensor:
        scaled = scale(x, valid, self.normalise, self.unit)
        if pooling in LAYERED:
            return pool_layers((self._layers(*piece) for piece in _pieces(scaled)), pooling)
        return pool((self._whole(*piece) for piece in _pieces(scaled)), pooling)

    def decode(self, x: Tensor, valid: Tensor) -> Tensor:
        """Rebuild all from what is valid, in mV."""
        scaled = scale(x, valid, self.normalise, self.unit)
        wholes = (self._whole(*piece) for piece in _pieces(scaled))
        rebuilt = [self._decode(self._entered(*whole)).float() for whole in wholes]
        return scaled.out(torch.cat(rebuilt, dim=-1))

    def _whole(self, x: Tensor, visible: Tensor) -> Tokens:
        """The tokens of all points, of which the encoder sees those that are visible."""
        there = visible.any(1)
        latents = self._encode(self._points(x, visible), there)
        return Tokens(latents * there.unsqueeze(-1), there)

    def _layers(self, x: Tensor, visible: Tensor) -> list[Tokens]:
        """What each layer gives for all points, from their first tokens on."""
        there = visible.any(1)
        passed = self._passed(self._points(x, visible), there)
        return [Tokens(h * there.unsqueeze(-1), there) for h in passed]

    def _points(self, x: Tensor, visible: Tensor) -> Tensor:
        """One token for each point: (B, T, width)."""
        h: Tensor = self.points(torch.where(visible, x, 0.0)).transpose(1, 2)
        return h + sinusoids(h.shape[1], h.shape[2], h.device).to(h.dtype)

    def _encode(self, h: Tensor, there: Tensor) -> Tensor:
        return deque(self._passed(h, there), maxlen=1).pop()

    def _passed(self, h: Tensor, there: Tensor) -> Iterator[Tensor]:
        """What each layer of the encoder gives, one after the other."""
        yield h
        for number, block in enumerate(self.encoder, start=1):
            h = block(h, there)
            yield self.norm(h) if number == len(self.encoder) else h

    def _entered(self, latents: Tensor, there: Tensor) -> Tensor:
        """In the decoder's width, the learned token where the encoder saw nothing."""
        h = self.enter(latents)
        return torch.where(there.unsqueeze(-1), h, self.hidden.to(h.dtype))

    def _restored(self, latents: Tensor, there: Tensor, restore: Tensor) -> Tensor:
        """Tokens back at their places, the learned one at all others."""
        h = self._entered(latents, there)
        rest = self.hidden.to(h.dtype).expand(len(h), restore.shape[1] - h.shape[1], -1)
        index = restore.unsqueeze(-1).expand(-1, -1, h.shape[-1])
        return torch.cat([h, rest], dim=1).gather(1, index)

    def _decode(self, h: Tensor) -> Tensor:
        """Tokens of all places to a signal (B, L, T)."""
        h = h + sinusoids(h.shape[1], h.shape[2], h.device).to(h.dtype)
        for block in self.decoder:
            h = block(h)
        signal: Tensor = self.out(self.decoder_norm(h))
        return signal.transpose(1, 2)


def _pieces(scaled: Scaled) -> Iterator[tuple[Tensor, Tensor]]:
    """Signal and validity, in pieces that one attention can hold."""
    for start in range(0, scaled.x.shape[-1], LONGEST):
        piece = slice(start, start + LONGEST)
        yield scaled.x[..., piece], scaled.visible[..., piece]


def chosen(noise: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Keep the places with the least noise (B, T): their places, and the way back.

    `restore` says for every place where it is in [kept, all others].
    """
    order = noise.argsort(dim=1)
    kept = order[:, : max(1, round(share * noise.shape[1]))]
    return kept, order.argsort(dim=1)
