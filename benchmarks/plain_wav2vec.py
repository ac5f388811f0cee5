"""The published wav2vec network put together from torch's own layers, as most people would."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from nerula.encoders import Tokens
from nerula.encoders.wav2vec import Wav2Vec


class PlainWav2Vec(nn.Module):
    """Stands in for a `Wav2Vec` with group norm and post-norm blocks, with the same weights."""

    def __init__(self, ours: Wav2Vec) -> None:
        super().__init__()
        self.stride, self.width, self.norm, self.enter = (
            ours.stride, ours.width, ours.norm, ours.enter,
        )  # fmt: skip
        self.dropped, self.context_norm = nn.Dropout(ours.dropout), ours.context_norm
        layers: list[nn.Module] = []
        for number, held in enumerate(ours.front.layers):
            pairs = held.weight.unflatten(1, (2, -1)).transpose(1, 2)
            layer = nn.Conv1d(pairs.shape[1], pairs.shape[0], 2, stride=2, bias=False)
            layer.weight = nn.Parameter(pairs.detach().clone())
            layers.append(layer)
            if not number:
                norm = nn.GroupNorm(len(pairs), len(pairs))
                norm.load_state_dict(ours.front.norms[0].state_dict())
                layers.append(norm)
            layers.append(nn.GELU())
        self.convolutions = nn.Sequential(*layers)
        self.place = _placing(ours)
        self.blocks = nn.ModuleList(_block(block, ours.dropout) for block in ours.blocks)

    def front(self, x: Tensor, visible: Tensor) -> Tokens:
        """Signal (B, L, T), a whole number of strides long and visible throughout, to tokens."""
        values = self.convolutions(torch.where(visible, x, 0.0)).transpose(1, 2)
        return Tokens(values, values.new_ones(values.shape[:2], dtype=torch.bool))

    def entered(self, features: Tensor) -> Tensor:
        """Features in the transformer's width."""
        h: Tensor = self.dropped(self.enter(features))
        return h

    def contextual(self, h: Tensor, there: Tensor) -> Tokens:
        """Tokens in the light of all others."""
        around = F.gelu(self.place(h.transpose(1, 2))[..., : h.shape[1]])
        h = self.dropped(self.context_norm(h + around.transpose(1, 2)))
        for block in self.blocks:
            h = block(h, src_key_padding_mask=~there)
        return Tokens(h, there)


def _placing(ours: Wav2Vec) -> nn.Module:
    place, width = ours.positions, ours.width
    layer = nn.Conv1d(width, width, place.kernel, padding=place.kernel // 2, groups=place.groups)
    layer = weight_norm(layer, dim=2)
    size_and_direction = layer.parametrizations.weight
    with torch.no_grad():
        size_and_direction.original0.copy_(place.size)
        size_and_direction.original1.copy_(place.direction)
        layer.bias.copy_(place.bias)
    return layer


def _block(ours: nn.Module, dropout: float) -> nn.Module:
    enter, leave = ours.mlp[1], ours.mlp[3]
    block = nn.TransformerEncoderLayer(
        enter.in_features, ours.heads, enter.out_features, dropout, F.gelu, batch_first=True
    )
    held = {
        "self_attn.in_proj_weight": ours.qkv.weight, "self_attn.in_proj_bias": ours.qkv.bias,
        "self_attn.out_proj.weight": ours.out.weight, "self_attn.out_proj.bias": ours.out.bias,
        "linear1.weight": enter.weight, "linear1.bias": enter.bias,
        "linear2.weight": leave.weight, "linear2.bias": leave.bias,
        "norm1.weight": ours.norm.weight, "norm1.bias": ours.norm.bias,
        "norm2.weight": ours.mlp[0].weight, "norm2.bias": ours.mlp[0].bias,
    }  # fmt: skip
    block.load_state_dict(held)
    return block
