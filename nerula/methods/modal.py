"""Modally reduced representations: one autoencoder per lead, aligned (Ibtehaz and Mortazavi 2024).

https://arxiv.org/abs/2405.02359
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from nerula.bounds import COUNT, Count, Number, Part, Positive, Weight, divides, one_of
from nerula.encoders.masked_autoencoder import (
    EVERY,
    Decoders,
    Encoders,
    Leads,
    Standards,
)
from nerula.encoders.patches import Patches, cut, kept
from nerula.encoders.scale import SCALINGS, Scaled, scale
from nerula.errors import UsageError
from nerula.loss import aligned, effective_rank, over_leads, spread, told_apart
from nerula.method import Batch, Method, Needs
from nerula.methods.timae import chosen
from nerula.precision import in_full
from nerula.together import gathered

LONGEST = 256
"""Patches that meet in one attention; a longer signal is taken in pieces."""
GRIDS = 4
"""Ways to cut a signal into patches, evenly shifted, that are decoded and averaged: what a
decoder does at the edges of patches evens out."""
SMALLEST = 1e-3
"""Least variance by which a patch is divided, in units of the encoder's input squared."""


class Modal(Method):
    """Twelve masked autoencoders whose tokens mean the same, whatever the lead.

    Each lead has an encoder and a decoder of its own. Half of the patches, the same times in all
    leads of a recording, go through the encoders (as published a quarter). With z a lead's own
    token, s the tokens of all leads at its time (constants: no gradient crosses leads) and s'
    those of the recording before it in the batch, s* those of all other subjects, and i the
    progress from 0 to 1::

        L_align = mean of relu(margin + cos(z, s') - cos(z, s))        (`contrast="triplet"`)
        L_align = -mean of log( e / (e + sum_s* exp(cos(z, s*) / t)) ),
                  e = exp(cos(z, s) / t)                               (`"batch"`, the default)
        L_recon = mean over masked patches of (decoded - patch)^2, the patch normalised by
                  itself with `targets="patches"`; plus `crossed` times the other lead's
        L = sin(i pi/2) L_align + cos(i pi/2) L_recon                  (`curriculum="paper"`)
        L = (sin(i pi/2) L_align + (cos(i pi/2) + 1) L_recon) / (sum of the two weights)
                                                                       (`"released"`)

    where L_align counts `align_weight` times.

    The embedding is the CLS token of the lead's encoder with nothing masked, its length taken out,
    of which the loss knows nothing; of several leads, their mean. So any set of leads has one.
    CLS tokens that are `standardised` have mean 0 and deviation 1 over the recordings, lead by
    lead, before they are compared or given: no lead lies apart from the others as a whole, and
    no dimension counts for more than another.

    A patch that was normalised by itself (`targets="patches"`) says nothing of millivolt: the
    decoders give each patch's mean and the logarithm of its deviation too, as two more outputs
    with a squared error.

    Differs from the paper: all recordings of a batch share one mask. If each has its own, the
    recording before has other times at the same slots, and tokens that tell which times were kept
    are told apart: the loss falls, while embeddings without a mask have nothing in common.

    Beyond the paper: a triplet is content when a recording is nearer to itself than to one other
    by the margin, and embeddings of four dimensions do that. With `contrast="batch"` each token
    has to find its recording among all of the batch (InfoNCE), CLS as weighty as all others
    together. And with two `segments` a CLS token is compared with those of the other half of
    the window: when the beats of one half come answers nothing about the other, and whose they
    are does. A model of two segments is trained on half the window at a time.

    With `crossed`, each decoder also rebuilds its lead, every patch of it, from
    the tokens of some lead of each recording, which are constants for it. Leads that were not
    measured are then what a decoder was trained to give.

    Several processes (torchrun) share the leads, not the recordings: each computes its own leads'
    networks for the whole batch and gets the others' tokens. Two give the losses of one.

    Arguments
    ---------
    fraction: share of the patches that is masked.
    standardised: whether CLS tokens are.
    segments: of a window, one after the other: 1, as published, or 2 whose CLS tokens meet.
    masks: one for each `recording`, as published, or for the `batch`.
    patch: seconds of a patch.
    rate: of the signal, in Hz; the store says it.
    width: of the encoders' tokens.
    depth: blocks of each encoder.
    heads: of the encoders' attention.
    decoder_width: of the decoders' tokens.
    decoder_depth: blocks of each decoder.
    decoder_heads: of the decoders' attention.
    contrast: `triplet`, as published, or against all other subjects of the `batch`.
    margin: of the triplets.
    temperature: of the contrast in the batch.
    align_weight: of the alignment; with 0 twelve autoencoders learn each for itself.
    curriculum: weights over the run, as in the `paper` or as `released`.
    targets: `patches`, each normalised by itself, or the `signal` as it is.
    crossed: weight of the other lead's reconstruction.
    normalise: `none` leaves mV, `scale` divides by `unit` mV, `instance` by the deviation.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {
            "fraction": 0.75,
            "width": 768,
            "depth": 12,
            "heads": 8,
            "decoder_width": 512,
            "decoder_depth": 8,
            "decoder_heads": 16,
            "segments": 1,
            "masks": "recording",
            "contrast": "triplet",
            "standardised": False,
            "targets": "patches",
            "crossed": 0.0,
            "normalise": "instance",
        },
    }
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"lr": 1e-3, "beta2": 0.95, "weight_decay": 0.05, "batch": 256, "window": 5.0},
    }
    any_leads = True

    def __init__(
        self,
        *,
        fraction: Part = 0.5,
        segments: Annotated[int, one_of((1, 2))] = 2,
        masks: Annotated[str, one_of(("batch", "recording"))] = "batch",
        patch: Positive = 0.2,
        rate: Positive = 100.0,
        width: Count = 128,
        depth: Number = 4,
        heads: Annotated[int, COUNT, divides("width")] = 4,
        decoder_width: Count = 64,
        decoder_depth: Number = 2,
        decoder_heads: Annotated[int, COUNT, divides("decoder_width")] = 4,
        standardised: bool = True,
        contrast: Annotated[str, one_of(("batch", "triplet"))] = "batch",
        margin: Weight = 0.5,
        temperature: Positive = 0.1,
        align_weight: Weight = 1.0,
        curriculum: Annotated[str, one_of(("paper", "released"))] = "paper",
        targets: Annotated[str, one_of(("patches", "signal"))] = "signal",
        crossed: Weight = 1.0,
        normalise: Annotated[str, one_of(SCALINGS)] = "scale",
        unit: Positive = 0.2,
        leads: Count = 12,
    ) -> None:
        super().__init__()
        self.needs = Needs(leads=leads, segments=segments)
        self.leads, self.fraction = leads, fraction
        self.patch = max(1, round(patch * rate))
        self.contrast, self.margin, self.temperature = contrast, margin, temperature
        self.align_weight, self.crossed = align_weight, crossed
        self.curriculum, self.targets, self.masks = curriculum, targets, masks
        self.normalise, self.unit = normalise, unit
        self.encoders = Encoders(leads, self.patch, width, depth, heads)
        self.standards = Standards(leads, width) if standardised else None
        outputs = self.patch + 2 * (targets == "patches")
        self.decoders = Decoders(
            leads,
            width,
            outputs,
            width=decoder_width,
            depth=decoder_depth,
            heads=decoder_heads,
        )

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Compute both parts for this process' leads."""
        x, valid = (_in_rows(gathered(one)) for one in (batch.x, batch.valid.byte()))
        patches = cut(self._scaled(x, valid.bool()), self.patch)
        noise = self._noise(batch, patches)
        place, restore = chosen(noise[:, 1:], 1 - self.fraction)
        mine = self._mine()
        there = kept(patches.there, place)
        tokens = self.encoders(kept(patches.values, place)[mine], there[mine], place, mine)
        every = gathered(in_full(tokens.detach()))

        whole = patches.there.any(-1, keepdim=True)  # CLS: of leads that hold anything
        known = torch.cat([whole, there], dim=2)
        hidden = torch.ones_like(restore, dtype=torch.bool).scatter(1, place, False)
        met = self._comparable(every, known)
        compared = self._comparable(tokens, known[mine])
        apart = self._apart(compared, met, known, mine, gathered(batch.subject))
        align = over_leads(apart, self.leads)
        recon = self._error(
            self.decoders(tokens, there[mine], restore, mine), patches, mine, hidden
        )
        parts = {"align": align, "recon": recon}
        share, rest = self._weights(progress)
        if self.crossed:
            row = torch.arange(len(noise), device=noise.device)
            lead = torch.arange(self.leads, device=noise.device)[mine, None]
            other = (lead + (noise[:, 0] * self.leads).long()) % self.leads, row
            rebuilt = self.decoders(every[other], there[other], restore, mine)
            parts["crossed"] = self._error(rebuilt, patches, mine, torch.ones_like(hidden))
            recon = recon + self.crossed * parts["crossed"]
        if self.standards is not None:
            self.standards.remember(every[:, :, 0], whole[..., 0])
        z = _mean_over(F.normalize(met[:, :, 0], dim=-1), whole[..., 0])
        return {
            "loss": share * self.align_weight * align + rest * recon,
            **{name: part.detach() for name, part in parts.items()},
            "spread": spread(z),
            "rank": effective_rank(z),
        }

    def _comparable(self, tokens: Tensor, known: Tensor) -> Tensor:
        """Tokens (leads, B, S, D) as they are compared: CLS standardised, if so asked."""
        if self.standards is None:
            return tokens
        whole = self.standards.of_batch(tokens[:, :, 0], known[:, :, 0])
        return torch.cat([whole.unsqueeze(2), in_full(tokens[:, :, 1:])], dim=2)

    def _apart(
        self, tokens: Tensor, every: Tensor, known: Tensor, mine: slice, subject: Tensor
    ) -> Tensor:
        """The alignment of each lead of this process (G,), CLS with that of the other segment."""
        near, there = (
            torch.cat([one[:, :, :1].roll(len(subject), 1), one[:, :, 1:]], dim=2)
            for one in (every, known)
        )
        if self.contrast == "triplet":
            return aligned(tokens, known[mine], near, there, self.margin)
        fresh = subject.amax() + 1 + torch.arange(len(subject), device=subject.device)
        subject = torch.where(subject < 0, fresh, subject)  # both halves are of one person
        subject = subject.repeat(known.shape[1] // len(subject))
        return told_apart(
            tokens, known[mine], near, there, subject=subject, temperature=self.temperature
        )

    def embed(self, x: Tensor, valid: Tensor) -> Tensor:
        """The mean over the leads that are there of their encoders' CLS tokens."""
        scaled = self._scaled(x, valid)
        total, count = x.new_zeros(len(x), self.encoders.whole.shape[-1]), x.new_zeros(len(x), 1)
        for piece in self._pieces(scaled):
            tokens, there, leads = self._whole(piece)
            weight, held = there.any(0).sum(1, keepdim=True), there.any(-1)
            whole = in_full(tokens[:, :, 0])
            if self.standards is not None:
                whole = self.standards(whole, leads)
            total = total + weight * _mean_over(F.normalize(whole, dim=-1), held)
            count = count + weight
        return total / count.clamp(min=1)

    def decode(self, x: Tensor, valid: Tensor) -> Tensor:
        """Rebuild all leads in mV, those that are not there too.

        A lead's decoder gets the lead's own tokens, and where there is none the mean of those that
        other leads have for that time. The mean of `GRIDS` answers is given.
        """
        scaled = self._scaled(x, valid)
        shifts = sorted({grid * self.patch // GRIDS for grid in range(GRIDS)})
        rebuilt = torch.stack([self._shifted(scaled, shift) for shift in shifts]).mean(0)
        return scaled.out(rebuilt)

    def _shifted(self, scaled: Scaled, shift: int) -> Tensor:
        """All leads (B, L, time), patches beginning so many samples before the signal."""
        x, visible = (F.pad(one, (shift, 0)) for one in (scaled.x, scaled.visible))
        pieces = self._pieces(scaled._replace(x=x, visible=visible))
        whole = torch.cat([self._filled(piece) for piece in pieces], dim=-1)
        return whole[..., shift : x.shape[-1]]

    def _scaled(self, x: Tensor, valid: Tensor) -> Scaled:
        """Scaled leads; with `instance` lacking leads have the mean size of the others."""
        scaled = scale(x, valid, self.normalise, self.unit)
        if self.normalise != "instance":
            return scaled
        there = valid.any(-1, keepdim=True)
        mean = (scaled.size * there).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp(min=1)
        size = torch.where(there, scaled.size, mean)
        leads = slice(0, x.shape[1])
        return Scaled(scaled.x[:, leads], scaled.visible[:, leads], scaled.mean, size)

    def _pieces(self, scaled: Scaled) -> Iterator[Patches]:
        return cut(scaled, self.patch).pieces(LONGEST)

    def _noise(self, batch: Batch, patches: Patches) -> Tensor:
        """Random numbers (B, 1 + N), the same in all processes: the least ones' times are kept.

        Times that are lacking come last. The first number says which lead is decoded crosswise.
        """
        _, rows, times, _ = patches.values.shape
        noise = torch.rand(
            rows, 1 + times, generator=batch.generator, device=patches.values.device
        )
        noise = gathered(noise)[:rows]
        if self.masks == "batch":
            lacking = (~patches.there.flatten(0, 1).any(0)).float()
            return torch.cat([noise[:, :1], (noise[:1, 1:] + lacking).expand(rows, -1)], dim=1)
        lacking = (~patches.there.all(0)).float() + (~patches.there.any(0)).float()
        return noise + F.pad(lacking, (1, 0))

    def _mine(self) -> slice:
        """The leads of this process."""
        if not distributed.is_initialized():
            return EVERY
        rank, ranks = distributed.get_rank(), distributed.get_world_size()
        if self.leads % ranks:
            raise UsageError(f"{self.leads} leads cannot be shared by {ranks} processes alike.")
        each = self.leads // ranks
        return slice(rank * each, (rank + 1) * each)

    def _weights(self, progress: float) -> tuple[float, float]:
        """Weights of alignment and reconstruction."""
        sine, cosine = math.sin(progress * math.pi / 2), math.cos(progress * math.pi / 2)
        if self.curriculum == "paper":
            return sine, cosine
        total = sine + cosine + 1
        return sine / total, (cosine + 1) / total

    def _error(self, rebuilt: Tensor, patches: Patches, mine: slice, asked: Tensor) -> Tensor:
        """Squared error of decoded patches over the samples of the patches (B, N) `asked` for."""
        truth, seen = patches.values[mine], patches.seen[mine] & asked[None, :, :, None]
        shape, rebuilt = in_full(rebuilt)[..., : self.patch], in_full(rebuilt)
        if self.targets == "signal":
            return over_leads(_mean_error(shape, truth, seen), self.leads)
        level = _levels(truth, patches.seen[mine])
        normal = (truth - level[..., :1]) * (-level[..., 1:]).exp()
        levels = _mean_error(
            rebuilt[..., self.patch :], level, seen.any(-1, keepdim=True).expand_as(level)
        )
        return over_leads(_mean_error(shape, normal, seen) + levels, self.leads)

    def _whole(self, piece: Patches) -> tuple[Tensor, Tensor, Leads]:
        """Tokens of the leads that are there, nothing masked; where they are; which leads."""
        there = piece.there
        held = there.flatten(1).any(1)
        some = bool(held.any() and not held.all())
        leads: Leads = held.nonzero()[:, 0] if some else EVERY
        place = torch.arange(there.shape[2], device=there.device).expand(there.shape[1], -1)
        return self.encoders(piece.values[leads], there[leads], place, leads), there[leads], leads

    def _filled(self, piece: Patches) -> Tensor:
        """All leads of a piece (B, L, time), in the encoder's units."""
        tokens, there, leads = self._whole(piece)
        known = F.pad(there, (1, 0), value=True) & there.any(-1, keepdim=True)
        given = _mean_over(tokens, known).to(tokens.dtype).expand(self.leads, -1, -1, -1).clone()
        given[leads] = torch.where(known.unsqueeze(-1), tokens, given[leads])
        somewhere = there.any(0).expand(self.leads, -1, -1)
        place = torch.arange(there.shape[2], device=there.device).expand(there.shape[1], -1)
        rebuilt = self.decoders(given, somewhere, place, EVERY).float()
        signal = rebuilt[..., : self.patch]
        if self.targets == "patches":
            mean, size = rebuilt[..., self.patch :].split(1, dim=-1)
            signal = mean + signal * size.clamp(max=8).exp()
        whole: Tensor = signal.flatten(2).transpose(0, 1)
        return whole


def _in_rows(one: Tensor) -> Tensor:
    """(B, S, L, T) as (S * B, L, T): all first segments, then all second ones."""
    return one.transpose(0, 1).flatten(0, 1)


def _levels(patches: Tensor, seen: Tensor) -> Tensor:
    """Mean and logarithm of the deviation of each patch, over what was seen: (..., 2)."""
    count = seen.sum(-1, keepdim=True).clamp(min=1)
    mean = (patches * seen).sum(-1, keepdim=True) / count
    variance = ((patches - mean) * seen).square().sum(-1, keepdim=True) / count
    return torch.cat([mean, 0.5 * (variance + SMALLEST).log()], dim=-1)


def _mean_error(guess: Tensor, truth: Tensor, where: Tensor) -> Tensor:
    """Mean squared error of each lead (L,) over what is in `where`."""
    error = (guess - truth).square() * where
    mean: Tensor = error.flatten(1).sum(1) / where.flatten(1).sum(1).clamp(min=1)
    return mean


def _mean_over(values: Tensor, where: Tensor) -> Tensor:
    """Mean over the leads of (L, ..., D) in `where` (L, ...)."""
    weight = where.unsqueeze(-1)
    mean: Tensor = (values * weight).sum(0) / weight.sum(0).clamp(min=1)
    return mean
