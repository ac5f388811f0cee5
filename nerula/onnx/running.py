"""Running a file, on one core."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nerula.errors import MissingExtraError

if TYPE_CHECKING:
    import onnxruntime

BATCH = 32


def session(content: bytes) -> "onnxruntime.InferenceSession":
    """Open a file's content on one core. From bytes: so no other file can be asked for."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def outputs(
    opened: "onnxruntime.InferenceSession", signal: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Every output for (N, leads, time), a batch at a time."""
    names = [one.name for one in opened.get_outputs()]
    parts = [
        opened.run(None, {"signal": signal[start : start + BATCH]})
        for start in range(0, len(signal), BATCH)
    ]
    return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}


def require() -> None:
    """Refuse where the optional packages are not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Writing ONNX", "onnx") from error
