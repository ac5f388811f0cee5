"""NERULA: its equations against plain NumPy, its tables as arguments, its two uses."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nerula.augment import patch_masks
from nerula.encoders.heads import VectorProjection
from nerula.encoders.pool import LAYERED, READ_OUTS, pool, pool_layers
from nerula.errors import UsageError
from nerula.loss import negative_cosine
from nerula.method import Batch
from nerula.methods import build
from nerula.methods.nerula import Nerula

SMALL: dict[str, Any] = {
    "stem": ((8, 2), (16, 2)),
    "blocks": ((5, 1), (9, 2)),
    "width": 16,
    "heads": 2,
    "projector": 16,
    "ema": 0.99,
    "pooling": "mean",
    "decoder_width": 16,
    "decoder_depth": 1,
    "resnet_widths": (8, 8, 8, 8),
}


def small(**arguments: Any) -> Nerula:
    torch.manual_seed(0)
    return Nerula(**{**SMALL, **arguments})


def ecg(batch: int = 8, segments: int = 1, time: int = 512, seed: int = 0) -> Tensor:
    """Beats: narrow peaks at each recording's own rate, on a wandering baseline, in mV."""
    generator = torch.Generator().manual_seed(seed)
    moment = torch.arange(time) / 100
    pace = 0.8 + torch.rand(batch, segments, 1, 1, generator=generator)
    phase = torch.rand(batch, segments, 1, 1, generator=generator)
    beat = (moment * pace + phase) % 1
    height = 0.5 + torch.rand(batch, 1, 1, 1, generator=generator)
    wave = height * torch.exp(-(((beat - 0.5) / 0.03) ** 2)) + 0.2 * torch.sin(6.3 * beat)
    return (wave + 0.05 * torch.sin(moment) + 0.1).float()


def batch(x: Tensor | None = None, seed: int = 1, **arguments: Any) -> Batch:
    x = ecg(**arguments) if x is None else x
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[0, :, :, 40:60] = False
    generator = torch.Generator().manual_seed(seed)
    return Batch(x, valid, torch.arange(len(x)), generator)


# --- equations ---------------------------------------------------------------------------------


def test_equations_5_and_6_two_complementary_halves() -> None:
    method, given = small(), batch()
    views = method._views(given)
    first, second = views.visible.chunk(2)
    assert not (first & second).any()
    assert torch.equal(first | second, given.valid[:, 0])
    # Where everything is valid the first view is exactly half.
    assert (first[1:].sum(-1) == 256).all()
    assert torch.equal(views.x.chunk(2)[0], views.x.chunk(2)[1])


def test_equation_7_taken_literally_is_zero_and_has_no_gradient() -> None:
    """Vectors that are zero wherever the other is not have no angle: the trap in the text."""
    torch.manual_seed(0)
    method = small(alignment="vector", normalise="none")
    projection = method.projection
    assert isinstance(projection, VectorProjection)
    views = method._views(batch(ecg(time=1024)))
    tokens = method.encoder(views.x, views.visible)
    vectors = projection.vector(tokens)
    assert vectors.shape == (16, 128)
    vectors.retain_grad()
    first, second = vectors.chunk(2)
    assert (first.abs().sum(1) > 0).all()
    assert ((first != 0) & (second != 0)).sum() == 0
    loss = negative_cosine(first, second)
    loss.backward()
    assert loss == 0
    for parameter in method.encoder.parameters():
        assert parameter.grad is None or (parameter.grad == 0).all()


def numpy_cosine(a: Tensor, b: Tensor) -> float:
    x, y = a.detach().double().numpy(), b.detach().double().numpy()
    return float(-np.mean((x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)))


def test_direct_alignment_is_equation_7_on_pooled_latents() -> None:
    method = small(alignment="direct", reconstruction=False, normalise="none")
    parts = method(batch(), 0.0)
    views = method._views(batch())
    with torch.no_grad():
        tokens = method.encoder(views.x, views.visible)
    values, valid = tokens.values.double().numpy(), tokens.valid.numpy()[..., None]
    z = (values * valid).sum(1) / valid.sum(1)
    assert parts["align"].item() == pytest.approx(
        numpy_cosine(*torch.tensor(z).chunk(2)), abs=1e-5
    )
    assert parts["loss"] == parts["align"]


@pytest.mark.parametrize("alignment", ["pooled", "vector"])
def test_each_view_is_compared_with_the_other_ones_target(alignment: str) -> None:
    method = small(alignment=alignment, reconstruction=False)
    assert method.target is not None
    with torch.no_grad():
        for parameter in method.target.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    found = method(batch(), 0.0)["align"]
    views = method._views(batch())
    scaled = [part[: len(views.x)] for part in scale_of(method, views)]
    assert method.projection is not None
    with torch.no_grad():
        online = method.predictor(method.projection(method.encoder(*scaled)))
        aim = method.target.projection(method.target.encoder(*scaled))
    one = numpy_cosine(online[:8], aim[8:])
    two = numpy_cosine(online[8:], aim[:8])
    assert found.item() == pytest.approx((one + two) / 2, abs=1e-5)
    assert one != pytest.approx(two, abs=1e-4)


def scale_of(method: Nerula, views: Any) -> tuple[Tensor, Tensor]:
    from nerula.encoders.scale import scale

    scaled = scale(views.x, views.visible, method.normalise, method.unit)
    return scaled.x, scaled.visible


@pytest.mark.parametrize("both", [False, True])
def test_equation_8_on_every_measured_sample_in_the_encoders_units(both: bool) -> None:
    method = small(align_weight=0.0, huber_delta=0.3, unit=0.2, both_views=both)
    found = method(batch(), 0.0)["recon"].item()
    given = batch()
    views = method._views(given)
    x, visible = views.x.double().numpy(), views.visible.numpy()
    mean = (x * visible).sum(-1, keepdims=True) / visible.sum(-1, keepdims=True)
    truth = (x - mean) / 0.2
    with torch.no_grad():
        seen = torch.tensor(truth, dtype=torch.float32)
        assert method.decoder is not None
        guess = method.decoder(method.encoder(seen, views.visible), 512).double().numpy()
    error = np.abs(truth - guess)
    each = np.where(error <= 0.3, 0.5 * error**2, 0.3 * (error - 0.15))
    count = 16 if both else 8
    expected = each[:count][views.measured.numpy()[:count]].mean()
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("align", "recon"), [(1.0, 10.0), (0.5, 2.0)])
def test_the_loss_is_the_weighted_sum(align: float, recon: float) -> None:
    parts = small(align_weight=align, recon_weight=recon)(batch(), 0.0)
    expected = align * parts["align"] + recon * parts["recon"]
    assert torch.allclose(parts["loss"], expected)
    assert {"loss", "align", "recon", "spread", "rank"} == set(parts)


def test_the_paper_weighs_one_to_ten() -> None:
    method = build("nerula", preset="paper")
    assert isinstance(method, Nerula)
    assert (method.align_weight, method.recon_weight) == (1.0, 10.0)
    assert (method.fraction, method.patches) == (0.5, (15, 30))
    assert method.encoder.width == 128
    assert 1.9e6 < sum(p.numel() for p in method.encoder.parameters()) < 2.5e6


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_the_target_follows_along_a_cosine(progress: float) -> None:
    method = small(ema=0.9)
    assert method.target is not None
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(torch.randn_like(parameter))
    before = [p.clone() for p in method.target.encoder.parameters()]
    method.after_step(progress)
    rate = 1 - 0.1 * (math.cos(math.pi * progress) + 1) / 2
    pairs = zip(before, method.encoder.parameters(), strict=True)
    for (old, online), new in zip(pairs, method.target.encoder.parameters(), strict=True):
        assert torch.allclose(new, rate * old + (1 - rate) * online, atol=1e-6)


def test_the_target_copies_buffers_and_never_gets_a_gradient() -> None:
    method = small()
    assert method.target is not None
    assert method.projection is not None
    method(batch(), 0.0)["loss"].backward()
    method.after_step(0.0)
    pairs = list(zip(method.projection.buffers(), method.target.projection.buffers(), strict=True))
    assert pairs
    assert all(torch.equal(online, target) for online, target in pairs)
    assert all(p.grad is None and not p.requires_grad for p in method.target.parameters())


def test_without_a_target_the_online_network_is_compared_detached() -> None:
    method = small(ema=0.0, reconstruction=False)
    assert method.target is None
    parts = method(batch(), 0.0)
    views = method._views(batch())
    assert method.projection is not None
    online = method.projection(method.encoder(*scale_of(method, views)))
    expected = numpy_cosine(method.predictor(online), online.roll(8, 0))
    assert parts["align"].item() == pytest.approx(expected, abs=1e-5)


# --- the tables as arguments -------------------------------------------------------------------

TABLES = {
    "table 1: BYOL": {"views": "augmentation", "encoder": "resnet", "reconstruction": False},
    "table 1: CLOCS": {"views": "neighbours", "encoder": "resnet", "reconstruction": False},
    "table 1: NERULA": {"encoder": "resnet", "reconstruction": False},
    "table 2: 1": {"encoder": "resnet", "reconstruction": False, "latent_masking": False},
    "table 2: 2": {"reconstruction": False},
    "table 2: 3": {},
    "instance": {"normalise": "instance", "pooling": "stats"},
    "both views": {"both_views": True},
    "reconstruction alone": {"align_weight": 0.0},
}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_row_of_the_tables_learns(name: str) -> None:
    method = small(**TABLES[name])
    given = batch(ecg(segments=method.needs.segments))
    optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], 3e-3)
    losses = []
    for step in range(12):
        parts = method(batch(given.x, seed=step), step / 12)
        optimiser.zero_grad()
        parts["loss"].backward()
        optimiser.step()
        method.after_step(step / 12)
        losses.append(parts["loss"].item())
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_without_latent_masking_the_encoder_is_given_zeros_and_not_told() -> None:
    method = small(latent_masking=False)
    given = batch()
    views = method._views(given)
    assert torch.equal(views.visible, given.valid[:, 0].repeat(2, 1, 1))
    hidden = views.x == 0
    first, second = hidden.chunk(2)
    assert (first ^ second)[given.x[:, 0] != 0].all()


def test_neighbours_are_two_segments() -> None:
    method = small(views="neighbours")
    assert method.needs.segments == 2
    given = batch(ecg(segments=2))
    views = method._views(given)
    assert torch.equal(views.x, torch.cat([given.x[:, 0], given.x[:, 1]]))
    assert small().needs.segments == 1


def test_mask_arguments_arrive() -> None:
    method = small(fraction=0.25, patches=(3, 4))
    views = method._views(batch())
    first = views.visible[1:8, 0]
    assert (first.sum(-1) == 128).all()
    assert (torch.diff(first.int(), dim=1) == 1).sum(1).max() <= 4


@pytest.mark.parametrize("name", ["views", "encoder", "alignment", "pooling", "normalise"])
def test_a_choice_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="Choose from"):
        Nerula(**{name: "nonsense"})


# --- uses --------------------------------------------------------------------------------------


def test_filling_keeps_what_was_measured_and_is_in_millivolt() -> None:
    method = small(normalise="scale").eval()
    x = ecg()[:, 0] + 3.0  # a large offset
    valid = patch_masks(8, 512, torch.Generator().manual_seed(0)).unsqueeze(1)
    with torch.no_grad():
        filled = method.reconstruct(torch.where(valid, x, torch.nan), valid)
    assert torch.equal(filled[valid], x[valid])
    assert torch.isfinite(filled).all()
    assert (filled[~valid] - 3).abs().mean() < 3  # around the recording's own level, not around 0


def test_filling_learns_to_beat_the_mean() -> None:
    method = small(align_weight=0.0, decoder_depth=2)
    optimiser = torch.optim.Adam(method.parameters(), 4e-3)
    for step in range(200):
        x = ecg(12, time=384, seed=step)
        everything = torch.ones_like(x, dtype=torch.bool)
        generator = torch.Generator().manual_seed(step)
        loss = method(Batch(x, everything, torch.arange(12), generator), 0.0)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    x = ecg(32, seed=9999)[:, 0]
    valid = patch_masks(32, 512, torch.Generator().manual_seed(7)).unsqueeze(1)
    with torch.no_grad():
        filled = method.eval().reconstruct(x, valid)
    error = (filled - x)[~valid].square().mean().sqrt()
    mean = (x * valid).sum(-1, keepdim=True) / valid.sum(-1, keepdim=True)
    assert error < 0.75 * (mean - x)[~valid].square().mean().sqrt()


def test_how_tokens_are_read_out_changes_no_loss() -> None:
    losses, sizes = [], []
    for pooling in READ_OUTS[1:]:
        torch.manual_seed(0)
        method = small(pooling=pooling)
        x, generator = ecg(6), torch.Generator().manual_seed(1)
        valid = torch.ones_like(x, dtype=torch.bool)
        losses.append(method(Batch(x, valid, torch.arange(6), generator), 0.5)["loss"])
        sizes.append(method.eval().embed(x[:, 0], valid[:, 0]).shape[1])
    assert all(torch.equal(losses[0], loss) for loss in losses)
    assert sizes[0] < min(sizes[1:])


@pytest.mark.parametrize("pooling", ["stats", "layers", "steps"])
def test_embeddings_of_a_long_recording_are_those_of_its_pieces_pooled(pooling: str) -> None:
    method = small(pooling=pooling).eval()
    x = ecg(2, time=70_000)[:, 0]
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[:, :, 30_000:45_000] = False
    from nerula.encoders.scale import scale

    with torch.no_grad():
        scaled = scale(x, valid, method.normalise, method.unit)
        seen = scaled.x, scaled.visible
        if pooling in LAYERED:
            whole = pool_layers([method.encoder.layers(*seen)], pooling)
        else:
            whole = pool([method.encoder(*seen)], pooling)
        assert torch.allclose(method.embed(x, valid), whole, atol=1e-4)


def test_a_long_recording_is_filled_in_pieces_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    method = small().eval()
    x = ecg(2, time=5000)[:, 0]
    valid = patch_masks(2, 5000, torch.Generator().manual_seed(0), patches=(40, 50)).unsqueeze(1)
    with torch.no_grad():
        whole = method.reconstruct(x, valid)
        monkeypatch.setattr("nerula.methods.nerula.PIECE", 1024)
        assert torch.allclose(method.reconstruct(x, valid), whole, atol=1e-5)


def test_amplitude_reaches_the_embedding_whatever_the_scaling() -> None:
    x = ecg(4)[:, 0]
    valid = torch.ones_like(x, dtype=torch.bool)
    for kind in ("none", "scale", "instance"):
        method = small(normalise=kind).eval()
        with torch.no_grad():
            assert not torch.allclose(method.embed(x, valid), method.embed(2 * x, valid))


def test_the_default_has_less_than_a_million_parameters() -> None:
    encoder = Nerula().encoder
    assert 0.8e6 < sum(p.numel() for p in encoder.parameters()) < 1.0e6
    assert encoder.stride == 8  # 128 tokens of 1,024 samples


def test_a_model_without_the_path_says_so() -> None:
    method = small(reconstruction=False)
    x = ecg()[:, 0]
    with pytest.raises(UsageError, match="reconstruction"):
        method.reconstruct(x, torch.ones_like(x, dtype=torch.bool))
