"""Machine: where a training computes, and how."""

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nerula.cores import require
from nerula.errors import UsageError
from nerula.options import Options
from nerula.workers import keep_memory


@dataclass(frozen=True, slots=True)
class Machine:
    """What is decided at the first start and holds until the end, because weights depend on it."""

    device: str
    precision: str
    threads: int

    @classmethod
    def chosen(cls, options: Options) -> "Machine":
        """Decide what the options leave open."""
        device, precision = options.device, options.precision
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if precision == "auto":
            precision = "bf16" if _has_bf16(device) else "fp32"
        return cls(device, precision, options.threads or torch.get_num_threads())

    @property
    def bf16(self) -> bool:
        """Whether matrix products are computed in bfloat16."""
        return self.precision == "bf16"

    def enter(self, local: int = 0) -> torch.device:
        """Set the process up: threads, and algorithms that give the same bits every time."""
        torch.set_num_threads(self.threads)
        keep_memory()
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010
        try:
            device = torch.device(self.device)
        except RuntimeError:
            raise UsageError(f"There is no device {self.device!r}.", "Try --device cpu.") from None
        if device.type != "cuda":
            require(self.device)
            return device
        if not torch.cuda.is_available():
            raise UsageError(
                f"There is no {self.device} here.",
                "A run that began on one cannot go on elsewhere; start another with --device cpu.",
            )
        device = torch.device("cuda", local if device.index is None else device.index)
        torch.cuda.set_device(device)
        return device

    def facts(self) -> dict[str, Any]:
        """What a report says about it."""
        on = torch.device(self.device)
        name = torch.cuda.get_device_name(on) if on.type == "cuda" else _processor()
        return {**asdict(self), "name": name, "cores": os.cpu_count(), "torch": torch.__version__}


def _has_bf16(device: str) -> bool:
    """Whether bfloat16 is faster there: on CPUs with AMX tiles or AVX-512's products of it."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    asked = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return device == "cpu" and any(getattr(torch.cpu, name, bool)() for name in asked)


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
