"""Effort: the time that a training took, and about how much energy."""

from collections.abc import Mapping
from typing import Any

WATTS_PER_THREAD, WATTS_PER_GPU = 10.0, 500.0
"""What a busy thread of a server's processor, and a busy accelerator, are taken to draw, with
memory, fans and losses. Assumed, not measured: half or twice as much is possible."""


def section(training: Mapping[str, Any]) -> dict[str, str]:
    """The lines of a table; an energy only where time and machine are known."""
    machine = training.get("machine", {})
    seconds = training.get("seconds")
    found = {}
    if seconds is not None:
        found["Time"] = f"{float(seconds):,.0f} s ({float(seconds) / 3600:.2f} h)"
    if machine:
        threads = machine.get("threads", "?")
        plural = "" if threads == 1 else "s"
        found["Machine"] = (
            f"{machine.get('name', 'unknown')}, {machine.get('device')}, {threads} thread{plural} "
            f"of {machine.get('cores', '?')} cores, {machine.get('precision')}, "
            f"torch {machine.get('torch')}"
        )
    if seconds is not None and machine.get("threads"):
        gpu = str(machine.get("device", "")).startswith("cuda")
        watts = WATTS_PER_GPU if gpu else WATTS_PER_THREAD * int(machine["threads"])
        found["Energy, estimated"] = (
            f"{watts * float(seconds) / 3.6e6:.3g} kWh, assuming {watts:g} W "
            + ("for the accelerator" if gpu else f"({WATTS_PER_THREAD:g} W per thread)")
            + "; not measured"
        )
    return found
