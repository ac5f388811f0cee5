"""The masked encoder: nothing hidden shows, views are complementary, any length in one piece."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nerula.augment import patch_masks
from nerula.encoders import Encoder, Tokens
from nerula.encoders.attention import (
    block_length,
    full_attention,
    rotate,
    window_attention,
    window_bias,
)
from nerula.encoders.local import Convolution, LocalDecoder, LocalEncoder
from nerula.encoders.pool import LAYERED, POOLINGS, directions, pool, pool_layers, read_out_size
from nerula.encoders.resnet import ResNet

SMALL = {"stem": ((8, 2), (16, 2)), "blocks": ((5, 1), (9, 2), (3, 1)), "width": 16, "heads": 2}
ENCODERS = {
    "local": lambda: LocalEncoder(**SMALL),
    "default": LocalEncoder,
    "separable": lambda: LocalEncoder(**{**SMALL, "separable": True, "widening": 2}),
    "global": lambda: LocalEncoder(**{**SMALL, "blocks": ((5, 1), (0, 2))}),
    "two leads": lambda: LocalEncoder(**SMALL, leads=2),
    "resnet": lambda: ResNet(widths=(8, 8, 8, 8)),
}


@pytest.fixture(params=sorted(ENCODERS))
def encoder(request: pytest.FixtureRequest) -> Encoder:
    torch.manual_seed(0)
    return ENCODERS[request.param]().eval()


def leads(encoder: Encoder) -> int:
    weights = [p for p in encoder.parameters() if p.ndim == 4]
    return weights[0].shape[1] // 2


def signal(batch: int, leads: int, time: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, leads, time, generator=generator)
    mask = patch_masks(batch, time, generator).unsqueeze(1).expand(-1, leads, -1)
    return x, mask


# --- attention ---------------------------------------------------------------------------------


def dense(qkv: Tensor, label: Tensor, reach: int, heads: int) -> Tensor:
    """The definition, one query at a time, in float64."""
    batch, time, width = qkv.shape
    size = width // 3 // heads
    query, key, value = qkv.double().view(batch, time, 3, heads, size).unbind(2)
    out = torch.zeros(batch, time, heads, size, dtype=torch.float64)
    for b in range(batch):
        for t in range(time):
            near = range(max(0, t - reach), min(time, t + reach + 1))
            keys = [s for s in near if label[b, s] == label[b, t]]
            for h in range(heads):
                scores = key[b, keys, h] @ query[b, t, h] / math.sqrt(size)
                out[b, t, h] = torch.softmax(scores, 0) @ value[b, keys, h]
    return out.flatten(2)


@pytest.mark.parametrize(("reach", "time"), [(3, 32), (9, 96), (16, 64), (20, 64), (40, 128)])
def test_windowed_attention_is_its_definition(reach: int, time: int) -> None:
    generator = torch.Generator().manual_seed(reach)
    qkv = torch.randn(2, time, 24, generator=generator)
    label = torch.randint(0, 3, (2, time), generator=generator).byte()
    visible = (label != 0).unsqueeze(-1)
    assert time % block_length(reach) == 0
    fast = window_attention(qkv, window_bias(label, reach, torch.float32), 2)
    assert torch.allclose(
        fast * visible, (dense(qkv, label, reach, 2) * visible).float(), atol=2e-6
    )


def test_windowed_attention_has_the_gradient_of_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(2, 64, 24, dtype=torch.float64, generator=generator).requires_grad_()
    label = torch.randint(0, 2, (2, 64), generator=generator).byte()
    weight = torch.randn(2, 64, 8, dtype=torch.float64, generator=generator)
    weight = weight * label.unsqueeze(-1)
    bias = window_bias(label, 9, torch.float64)
    (fast,) = torch.autograd.grad((window_attention(qkv, bias, 2) * weight).sum(), qkv)
    by_rule = torch.zeros((), dtype=torch.float64)
    query, key, value = qkv.view(2, 64, 3, 2, 4).permute(2, 0, 3, 1, 4)
    near = (torch.arange(64) - torch.arange(64).unsqueeze(1)).abs() <= 9
    seen = (near & (label.unsqueeze(1) == label.unsqueeze(2))).unsqueeze(1)
    scores = (query @ key.transpose(-1, -2) / 2).masked_fill(~seen, -torch.inf)
    mixed = (torch.softmax(scores, -1) @ value).transpose(1, 2).flatten(2)
    by_rule = (mixed * weight).sum()
    (slow,) = torch.autograd.grad(by_rule, qkv)
    assert torch.allclose(fast, slow, atol=1e-10)


def test_full_attention_sees_its_own_label_only() -> None:
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(2, 40, 24, generator=generator)
    label = torch.randint(0, 3, (2, 40), generator=generator).byte()
    expected = dense(qkv, label, 40, 2).float()
    visible = (label != 0).unsqueeze(-1)
    assert torch.allclose(full_attention(qkv, label, 2) * visible, expected * visible, atol=2e-6)


def test_windows_without_a_valid_key_give_no_nan() -> None:
    qkv = torch.randn(3, 64, 24).requires_grad_()
    label = torch.zeros(3, 64, dtype=torch.uint8)
    mixed = window_attention(qkv, window_bias(label, 9, torch.float32), 2)
    mixed.sum().backward()
    assert torch.isfinite(mixed).all()
    assert torch.isfinite(qkv.grad).all()


@pytest.mark.parametrize(
    ("kernel", "stride", "groups"), [(9, 2, 1), (3, 1, 8), (3, 2, 8), (7, 3, 1)]
)
def test_convolution_is_conv1d(kernel: int, stride: int, groups: int) -> None:
    torch.manual_seed(0)
    ours = Convolution(8, 8, kernel, stride, groups)
    theirs = nn.Conv1d(8, 8, kernel, stride, kernel // 2, groups=groups, bias=False)
    theirs.weight.data = ours.weight.data.squeeze(2)
    x = torch.randn(2, 101, 8)
    expected = theirs(x.transpose(1, 2)).transpose(1, 2)
    assert expected.shape[1] == -(-101 // stride)
    assert torch.allclose(ours(x), expected, atol=1e-6)


def test_rotated_scores_depend_on_distance_alone() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 8)
    qkv = torch.cat([query, key, value]).expand(1, 300, 24)
    turned = rotate(qkv, 2, period=64)
    assert torch.equal(turned[..., 16:], qkv[..., 16:])
    one, two = turned[0, :, :8].view(-1, 2, 4), turned[0, :, 8:16].view(-1, 2, 4)
    scores = torch.einsum("shd,thd->hst", one, two)
    for distance in range(-20, 21):
        same = scores.diagonal(distance, 1, 2)
        assert torch.allclose(same, same[:, :1].expand_as(same), atol=1e-4)
    by_distance = scores[0, 150, 130:171]
    assert by_distance.std() > 0.1


# --- masks -------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31), time=st.integers(1, 700), hidden=st.sampled_from([7e3, 0, None])
)
@pytest.mark.parametrize("name", ["local", "separable", "global", "two leads", "resnet"])
def test_a_masked_sample_influences_nothing(
    name: str, seed: int, time: int, hidden: float | None
) -> None:
    torch.manual_seed(0)
    encoder = ENCODERS[name]()
    x, mask = signal(2, leads(encoder), time, seed)
    other = torch.full_like(x, torch.nan if hidden is None else hidden)
    with torch.no_grad():
        first = encoder(x, mask)
        second = encoder(torch.where(mask, x, other), mask)
    assert torch.equal(first.values.view(torch.int32), second.values.view(torch.int32))
    assert torch.equal(first.valid, second.valid)
    assert torch.isfinite(first.values).all()


def test_a_hidden_sample_gets_no_gradient_and_a_visible_one_does(encoder: Encoder) -> None:
    x, mask = signal(2, leads(encoder), 512)
    x.requires_grad_()
    encoder(x, mask).values.square().sum().backward()
    assert x.grad is not None
    assert (x.grad[~mask] == 0).all()
    assert (x.grad[mask] != 0).float().mean() > 0.9


def test_every_level_is_masked(encoder: Encoder) -> None:
    x, mask = signal(2, leads(encoder), 1000)
    values, valid = encoder(x, mask)
    assert values.shape == (2, -(-1000 // encoder.stride), encoder.width)
    assert torch.equal(valid, mask.any(1)[:, :: encoder.stride])
    assert (values[~valid] == 0).all()
    assert (values[valid] != 0).any(-1).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), time=st.integers(1, 700))
@pytest.mark.parametrize("name", ["local", "separable", "global", "two leads", "resnet"])
def test_views_are_complementary_and_share_one_pass(name: str, seed: int, time: int) -> None:
    torch.manual_seed(0)
    encoder = ENCODERS[name]()
    x, mask = signal(2, leads(encoder), time, seed)
    valid = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) > 0.1
    valid = valid[:, :1].expand_as(x)
    both = x.repeat(2, 1, 1), torch.cat([mask & valid, ~mask & valid])
    with torch.no_grad():
        apart, together = encoder(*both), encoder.pair(*both)
    first, second = apart.valid.chunk(2)
    assert not (first & second).any()
    assert torch.equal(first | second, valid.any(1)[:, :: encoder.stride])
    assert torch.equal(apart.valid, together.valid)
    assert torch.allclose(apart.values, together.values, atol=1e-5)


def test_sharing_a_pass_gives_the_same_gradient() -> None:
    torch.manual_seed(0)
    encoder = LocalEncoder(**SMALL)
    x, mask = signal(3, 1, 512)
    both = x.repeat(2, 1, 1), torch.cat([mask, ~mask])
    weight = torch.randn(6, 64, 16)
    for encode in (encoder, encoder.pair):
        (encode(*both).values * weight).sum().backward()
    with_both = [p.grad for p in encoder.parameters()]
    encoder.zero_grad()
    (encoder(*both).values * weight).sum().backward()
    for twice, parameter in zip(with_both, encoder.parameters(), strict=True):
        assert torch.allclose(twice, 2 * parameter.grad, rtol=1e-4, atol=1e-4)


def test_layers_end_with_the_tokens_and_are_masked_all_of_them(encoder: Encoder) -> None:
    x, mask = signal(2, leads(encoder), 1001)
    with torch.no_grad():
        found, (values, valid) = encoder.layers(x, mask), encoder(x, mask)
        other = encoder.layers(torch.where(mask, x, 1e3), mask)
    assert torch.equal(found[-1].values, values)
    assert torch.equal(found[-1].valid, valid)
    assert len(found) == len(encoder.profile) > 1
    for layer, again, (width, stride) in zip(found, other, encoder.profile, strict=True):
        assert layer.values.shape == (2, -(-1001 // stride), width)
        assert torch.equal(layer.valid, mask.any(1)[:, ::stride])
        assert (layer.values[~layer.valid] == 0).all()
        assert torch.equal(layer.values, again.values)
    for kind in LAYERED:
        assert read_out_size(encoder, kind) == pool_layers([found], kind).shape[1]


# --- lengths -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["local", "default", "separable", "two leads", "resnet"])
def test_pieces_join_to_the_whole(name: str) -> None:
    torch.manual_seed(0)
    encoder = ENCODERS[name]()
    x, mask = signal(2, leads(encoder), 7001)
    with torch.no_grad():
        whole = encoder(x, mask)
        pieces = list(encoder.pieces(x, mask, length=2048))
    assert len(pieces) > 2
    assert torch.equal(torch.cat([piece.valid for piece in pieces], 1), whole.valid)
    joined = torch.cat([piece.values for piece in pieces], 1)
    assert torch.allclose(joined, whole.values, atol=1e-5)
    for kind in POOLINGS:
        assert torch.allclose(pool(pieces, kind), pool([whole], kind), atol=1e-5)


@pytest.mark.parametrize("name", ["local", "default", "separable", "two leads", "resnet"])
def test_layers_join_to_those_of_the_whole(name: str) -> None:
    torch.manual_seed(0)
    encoder = ENCODERS[name]()
    x, mask = signal(2, leads(encoder), 7001)
    with torch.no_grad():
        whole = encoder.layers(x, mask)
        pieces = list(encoder.layered(x, mask, length=2048))
    assert len(pieces) > 2
    for layer, parts in zip(whole, zip(*pieces, strict=True), strict=True):
        assert torch.equal(torch.cat([part.valid for part in parts], 1), layer.valid)
        joined = torch.cat([part.values for part in parts], 1)
        assert torch.allclose(joined, layer.values, atol=1e-5)
    for kind in LAYERED:
        assert torch.allclose(pool_layers(pieces, kind), pool_layers([whole], kind), atol=1e-5)


def test_a_token_sees_exactly_its_context() -> None:
    torch.manual_seed(0)
    encoder = LocalEncoder(**SMALL)
    assert encoder.context is not None
    x = torch.randn(1, 1, 2048, requires_grad=True)
    middle = 2048 // encoder.stride // 2
    encoder(x, torch.ones_like(x, dtype=torch.bool)).values[0, middle].square().sum().backward()
    seen = torch.nonzero(x.grad[0, 0]).flatten() - middle * encoder.stride
    assert seen.min() >= -encoder.context
    assert seen.max() <= encoder.context
    assert seen.max() > 0.9 * encoder.context - encoder.stride


def test_invalid_padding_changes_nothing(encoder: Encoder) -> None:
    x, mask = signal(2, leads(encoder), 600)
    padded = nn.functional.pad(x, (0, 424), value=5.0), nn.functional.pad(mask, (0, 424))
    with torch.no_grad():
        short, long = encoder(x, mask), encoder(*padded)
    count = short.values.shape[1]
    assert torch.allclose(long.values[:, :count], short.values, atol=1e-6)
    assert not long.valid[:, count:].any()


def test_parameters_as_published() -> None:
    def millions(module: nn.Module) -> float:
        return sum(p.numel() for p in module.parameters()) / 1e6

    assert 0.8 < millions(LocalEncoder()) < 1.0
    assert millions(ResNet(widths=(64, 128, 256, 512), norm="batch")) == pytest.approx(
        15.95, abs=0.01
    )


# --- pooling and decoding ----------------------------------------------------------------------


def test_what_was_pooled_in_use_can_be_pooled_in_training() -> None:
    """Directions are kept; those that were made without gradients must not stop any later."""
    directions.cache_clear()
    values, valid = torch.randn(2, 9, 40), torch.ones(2, 9, dtype=torch.bool)
    with torch.inference_mode():
        pool([Tokens(values, valid)], "moments")
    learnt = values.clone().requires_grad_()
    pool([Tokens(learnt, valid)], "moments").sum().backward()
    assert learnt.grad is not None
    assert torch.isfinite(learnt.grad).all()


def test_pooling_is_over_what_is_valid() -> None:
    torch.manual_seed(0)
    encoder = LocalEncoder(**SMALL)
    x, mask = signal(3, 1, 512)
    mask[2] = False
    tokens = encoder(x, mask)
    for row in range(2):
        kept = tokens.values[row, tokens.valid[row]]
        expected = torch.cat([kept.mean(0), kept.std(0, correction=0), kept.amax(0)])
        assert torch.allclose(pool([tokens], "stats")[row], expected, atol=1e-4)
        along = kept.detach().double().numpy() @ directions(16, kept.device).double().numpy()
        among = np.cov(along.T, bias=True)[np.triu_indices(16)]
        moments = pool([tokens], "moments")[row].detach()
        assert torch.equal(moments[: len(expected)], pool([tokens], "stats")[row])
        assert np.allclose(moments[len(expected) :], among, atol=1e-5)
        assert np.abs(among).max() > 0.1
        assert torch.allclose(pool([tokens], "mean")[row], kept.mean(0), atol=1e-6)
    assert (pool([tokens], "moments")[2] == 0).all()
    assert (pool([tokens], "mean")[2] == 0).all()


def test_earlier_layers_are_pooled_behind_the_moments_of_the_tokens() -> None:
    torch.manual_seed(0)
    x, mask = signal(3, 1, 512)
    mask[2] = False
    found = LocalEncoder(**SMALL).layers(x, mask)
    pooled = pool_layers([found], "layers")
    for row in range(2):
        own = pool(found[-1:], "moments")[row]
        kept = [tokens.values[row, tokens.valid[row]].detach().numpy() for tokens in found[:-1]]
        before = [one.std(0) for one in kept]
        assert torch.equal(pooled[row, : len(own)], own)
        assert np.allclose(pooled[row, len(own) :].detach(), np.concatenate(before), atol=1e-4)
    assert (pooled[2] == 0).all()


def test_steps_are_how_far_neighbours_are_apart_that_were_both_measured() -> None:
    torch.manual_seed(0)
    x, mask = signal(3, 1, 512)
    mask[2] = False
    found = LocalEncoder(**SMALL).layers(x, mask)
    layers, steps = (pool_layers([found], kind).detach() for kind in LAYERED)
    size = layers.shape[1]
    assert torch.equal(steps[:, :size], layers)
    for row in range(2):
        moved = []
        for tokens in found:
            values, valid = tokens.values[row].detach().numpy(), tokens.valid[row].numpy()
            assert not valid.all()
            both = valid[1:] & valid[:-1]
            moved.append(np.abs(np.diff(values, axis=0))[both].mean(0))
        assert np.allclose(steps[row, size:], np.concatenate(moved), atol=1e-5)
    assert (steps[2] == 0).all()


@pytest.mark.parametrize("time", [64, 500, 1000])
def test_the_decoder_gives_a_signal_of_the_length_asked_for(time: int) -> None:
    torch.manual_seed(0)
    encoder = LocalEncoder(**SMALL, leads=2)
    decoder = LocalDecoder(16, encoder.stride, leads=2, width=16, heads=2, depth=1)
    x, mask = signal(2, 2, time)
    rebuilt = decoder(encoder(x, mask), time)
    assert rebuilt.shape == x.shape
    rebuilt.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in decoder.parameters())


@pytest.mark.parametrize("width", [7, 32, 100, 128, 1024])
def test_directions_are_orthonormal(width: int) -> None:
    across = directions(width, torch.device("cpu"))
    assert across.shape == (width, min(32, width))
    assert torch.allclose(across.T @ across, torch.eye(across.shape[1]), atol=1e-5)
