"""Lead names and units as the world writes them, and as we do."""

import re

LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")
CHEST = ("V1", "V2", "V3", "V4", "V5", "V6")
STANDARD = LIMB + CHEST

_OTHERS = (
    "V3R",
    "V4R",
    "V5R",
    "V6R",
    "V7",
    "V8",
    "V9",
    "MLI",
    "MLII",
    "MLIII",
    "CM2",
    "CM4",
    "CM5",
    "CC5",
    "ML5",
    "MV1",
    "MV2",
    "ES",
    "AS",
    "AI",
    "X",
    "Y",
    "Z",
)
_CANONICAL = {name.upper(): name for name in (*STANDARD, *_OTHERS)}
_DECORATION = re.compile(
    r"^(MDC_ECG_LEAD_|MDC_ECG_ELEC_POTL_|LEAD[ _]?|ECG[ _]?|EKG[ _]?)|([ _]?(LEAD|ECG))$"
)

_MICROVOLTS = ("uV", "µV", "μV", "microvolt", "microvolts", "uv", "UV")
MILLIVOLTS_PER: dict[str, float] = {
    "mV": 1.0, "mv": 1.0, "MV": 1.0, "millivolt": 1.0, "millivolts": 1.0,
    "V": 1000.0, "v": 1000.0, "volt": 1000.0, "volts": 1000.0,
    "nV": 1e-6, "nv": 1e-6, "nanovolt": 1e-6, "nanovolts": 1e-6,
    **dict.fromkeys(_MICROVOLTS, 1e-3),
}  # fmt: skip


def canonical_lead(name: str) -> str | None:
    """Return our name of a lead ("AVR", "lead avr", "MDC_ECG_LEAD_AVR" -> "aVR"), or None."""
    upper = name.strip().upper().replace("-", "").strip()
    while (bare := _DECORATION.sub("", upper).strip(" _")) != upper:
        upper = bare
    return _CANONICAL.get(upper)


def millivolts_per(unit: str) -> float | None:
    """Return how many mV one `unit` is, or None where it is no voltage."""
    return MILLIVOLTS_PER.get(unit.strip())
