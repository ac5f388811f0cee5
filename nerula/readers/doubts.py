"""A wrong unit or rate shows in the signal: formats without a checksum are doubted by it."""

from dataclasses import replace

import numpy as np

from nerula.readers.wfdb_doubts import of_signals
from nerula.recording import Recording

_HIGHEST = 1e5
"""mV; beyond, nothing more is to be learnt and squares overflow."""


def doubted(recording: Recording) -> Recording:
    """Add what is odd about amplitudes and pace, if there is a second that is wholly valid."""
    x = recording.x[:, recording.valid.all(axis=0)]
    if x.shape[1] < recording.rate:
        return recording
    odd = of_signals(np.clip(x, -_HIGHEST, _HIGHEST), recording.rate)
    findings = (replace(finding, path=recording.path) for finding in odd)
    return replace(recording, findings=(*recording.findings, *findings))
