"""A method that trains in milliseconds and uses everything that a run has to carry on."""

import os
import signal
import time
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nerula.method import Batch, Method, Needs

NAME = "tests.tiny:Tiny"


class Tiny(Method):
    """Predict hidden samples from a pooled convolution.

    Arguments
    ---------
    width: values of the embedding.
    trouble: what happens at step `at`: nan, term, memory or cuda-memory; or shapes, at once.
    """

    presets: ClassVar = {"wide": {"width": 24}}
    recipes: ClassVar = {"wide": {"lr": 0.02, "epochs": 1}}
    training_only = ("target",)

    def __init__(
        self,
        *,
        width: int = 8,
        leads: int = 1,
        segments: int = 1,
        collapsed: bool = False,
        trouble: str = "",
        at: int = 5,
        pace: float = 0.0,
    ) -> None:
        super().__init__()
        self.needs = Needs(leads=leads, segments=segments)
        self.collapsed, self.trouble, self.at, self.pace = collapsed, trouble, at, pace
        self.convolution = nn.Conv1d(leads, width, 16, 8)
        self.norm = nn.BatchNorm1d(width)
        self.out = nn.Linear(width, leads)
        self.target = nn.Linear(width, leads)
        self.target.requires_grad_(False)
        self.steps = 0

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Both sources of randomness, a moving average and a batch statistic are in here."""
        x, valid = batch.x[:, 0], batch.valid[:, 0]
        hidden = torch.rand(x.shape, generator=batch.generator, device=x.device) < 0.5
        z = F.dropout(self.norm(self.embed(x, valid & ~hidden)), 0.1)
        aim = (x * hidden).mean(-1) + 0.01 * self.target(z.detach())
        recon = F.mse_loss(self.out(z), aim)
        self.steps += 1
        if self.steps == self.at and self.trouble:
            recon = self._suffer(recon)
        time.sleep(self.pace)
        return {"loss": recon * (1 + progress), "recon": recon.detach()}

    def embed(self, x: Tensor, valid: Tensor) -> Tensor:
        """Pool over the valid samples; all alike where it is to collapse."""
        if self.trouble == "shapes":
            raise RuntimeError("sizes do not match")
        h = self.convolution(torch.where(valid, x, 0.0)).tanh().mean(-1)
        return h * 0 + 1 if self.collapsed else h

    def reconstruct(self, x: Tensor, valid: Tensor) -> Tensor:
        """Fill with the mean of what is valid."""
        mean = (x * valid).sum(-1, keepdim=True) / valid.sum(-1, keepdim=True).clamp(min=1)
        return torch.where(valid, x, mean)

    def after_step(self, progress: float) -> None:
        """Follow."""
        with torch.no_grad():
            self.target.weight.lerp_(self.out.weight, 0.1)

    def _suffer(self, loss: Tensor) -> Tensor:
        if self.trouble == "term":
            os.kill(os.getpid(), signal.SIGTERM)
        if self.trouble == "memory":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
        if self.trouble == "cuda-memory":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss * float("nan") if self.trouble == "nan" else loss
