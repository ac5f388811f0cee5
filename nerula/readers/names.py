"""Lead names and units as the world writes them, and as we do."""

import re
from collections.abc import Sequence
from pathlib import Path

from nerula.defects import Finding
from nerula.errors import refuse

LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")
CHEST = ("V1", "V2", "V3", "V4", "V5", "V6")
STANDARD = LIMB + CHEST

_OTHERS = (
    "V2R",
    "V3R",
    "V4R",
    "V5R",
    "V6R",
    "V7R",
    "V8R",
    "V9R",
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
    "V",  # one chest electrode, wherever it sits: bedside monitors
    "MCL1",
    "MCL6",
    "X",
    "Y",
    "Z",
)
_BIPOLAR = {"LARA": "I", "LLRA": "II", "LLLA": "III"}  # written as electrode minus electrode
_ROMANCE = {"DI": "I", "DII": "II", "DIII": "III"}  # derivation, dérivation, derivación
_FRANK = {"VX": "X", "VY": "Y", "VZ": "Z"}
_CANONICAL = {name.upper(): name for name in (*STANDARD, *_OTHERS)} | _BIPOLAR | _ROMANCE | _FRANK
_UNSPECIFIED = re.compile(r"(?:ECG|EKG)[ _-]?(\d{0,2})")  # an ECG lead, but not said which
_FILTERED = " FILTERED"  # beside the raw signal of the same lead: ECG-ID
_DECORATION = re.compile(
    r"^(MDC_ECG_LEAD_|MDC_ECG_ELEC_POTL_|LEAD[ _]?|ECG[ _]?|EKG[ _]?)"
    r"|([ _]?(LEAD|ECG)|[ _]?\(EINTHOVEN\))$"
)
_TWICE = re.compile(r"V([1-6])[ _]?\(C\1\)")  # by both of its names: V1(C1)
_HYPHEN = re.compile(r"(?<=\w)-(?=\w)")  # but "-aVR" is another lead: aVR upside down

_MICROVOLTS = ("uV", "µV", "μV", "microvolt", "microvolts", "uv", "UV")
MILLIVOLTS_PER: dict[str, float] = {
    "mV": 1.0, "mv": 1.0, "MV": 1.0, "millivolt": 1.0, "millivolts": 1.0,
    "V": 1000.0, "v": 1000.0, "volt": 1000.0, "volts": 1000.0,
    "nV": 1e-6, "nv": 1e-6, "nanovolt": 1e-6, "nanovolts": 1e-6,
    **dict.fromkeys(_MICROVOLTS, 1e-3),
}  # fmt: skip


def canonical_lead(name: str) -> str | None:
    """Return our name of a lead ("AVR", "lead avr", "MDC_ECG_LEAD_AVR" -> "aVR"), or None."""
    upper = _TWICE.sub(r"V\1", _HYPHEN.sub("", name.strip().upper()))
    if unspecified := _UNSPECIFIED.fullmatch(upper):
        return f"ECG {unspecified[1]}".strip()
    if upper.endswith(_FILTERED):
        lead = canonical_lead(upper.removesuffix(_FILTERED))
        return f"{lead} filtered" if lead else None
    while (bare := _DECORATION.sub("", upper).strip(" _")) != upper:
        upper = bare
    return _CANONICAL.get(upper)


def name_leads(
    written: Sequence[str], path: Path | None
) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Return our names of a file's signals, in its order, and what is odd about them.

    An unknown name is kept as it is written, a missing one is replaced by a number, and signals
    that are called "ECG" are numbered where there are several; two signals of one name are
    refused.
    """
    leads: list[str] = []
    findings: list[Finding] = []
    unspecified = sum(canonical_lead(name) == "ECG" for name in written)
    for number, name in enumerate(written, 1):
        bare = " ".join("".join(c if c.isprintable() else " " for c in name[:80]).split())
        known = canonical_lead(bare)
        lead = known or bare
        if not bare:
            lead = f"lead {number}"
            findings.append(Finding("lead-unnamed", path, lead=lead))
        elif known is None:
            findings.append(Finding("lead-unknown", path, lead=lead))
        elif known == "ECG" and unspecified > 1:
            lead = f"ECG {number}"
        if lead in leads:
            raise refuse("lead-duplicate", path, lead=lead)
        leads.append(lead)
    return tuple(leads), tuple(findings)


def split_names(written: str | None) -> tuple[str, ...] | None:
    """Split names as a command line has them, "I,II" or "I II"; None where there are none."""
    if not written:
        return None
    names = written.split(",") if "," in written else written.split()
    return tuple(name.strip() for name in names)


def split_leads(written: str | None) -> tuple[str, ...] | None:
    """Split names as a command line has them, and return our names of these leads."""
    names = split_names(written)
    return names and tuple(canonical_lead(name) or name for name in names)


def millivolts_per(unit: str) -> float | None:
    """Return how many mV one `unit` is, or None where it is no voltage."""
    bare = unit.strip()
    return MILLIVOLTS_PER.get(bare) or MILLIVOLTS_PER.get(bare.lower())
