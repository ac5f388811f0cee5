"""The catalogue of defects: every code that a reader, `check` or `prepare` can report.

A *note* is a harmless quirk, a *warning* leaves the recording usable (the affected stretch is
marked invalid where that applies), an *error* keeps the recording out of a store.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Severity(StrEnum):
    """How much a finding matters; only warnings and errors fail ``check --strict``."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Defect:
    """One kind of defect."""

    code: str
    severity: Severity
    meaning: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect found in one place."""

    code: str
    path: Path | None = None
    detail: str = ""
    lead: str = ""

    @property
    def defect(self) -> Defect:
        """The catalogue's entry for this finding."""
        return CATALOGUE[self.code]

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return self.defect.severity

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        lead = f"lead {self.lead}: " if self.lead else ""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{where}{lead}{self.defect.meaning}{detail} [{self.code}]"


_NOTE, _WARNING, _ERROR = Severity.NOTE, Severity.WARNING, Severity.ERROR

_DEFECTS = [
    # --- the file
    Defect(
        "file-missing",
        _ERROR,
        "the file does not exist",
        "Check the path; download the file again.",
    ),
    Defect("file-empty", _ERROR, "the file is empty", "Download the file again."),
    Defect(
        "file-unreadable", _ERROR, "the file cannot be read", "Check its permissions and the disk."
    ),
    Defect(
        "file-too-large",
        _ERROR,
        "the file is larger than its format allows",
        "Split it, or check that it is what it claims.",
    ),
    Defect(
        "reader-failed",
        _ERROR,
        "the reader failed in a way it should not",
        "Please report this, if possible with the file.",
    ),
    Defect(
        "format-unknown",
        _ERROR,
        "the format is not recognised",
        "Convert it to WFDB, EDF, CSV or NumPy.",
    ),
    Defect(
        "format-unsupported",
        _ERROR,
        "this variant of the format is not supported",
        "Install nerula[wfdb], or convert the file.",
    ),
    Defect(
        "format-malformed",
        _ERROR,
        "the file breaks its format's grammar",
        "Export it again from its source.",
    ),
    Defect(
        "format-scp",
        _ERROR,
        "SCP-ECG is not read",
        "Convert it to DICOM or aECG XML first, for example with the open ECG toolkit.",
    ),
    Defect(
        "path-outside",
        _ERROR,
        "a name in the file points outside its folder",
        "Do not trust this file; keep data beside its header.",
    ),
    Defect(
        "code-in-data",
        _ERROR,
        "the file holds objects that would run code when loaded",
        "Save plain numeric arrays instead.",
    ),
    Defect(
        "xml-entity",
        _ERROR,
        "the XML declares entities, which is how XML attacks work",
        "Export it again without a DTD.",
    ),
    # --- the header
    Defect(
        "header-malformed",
        _ERROR,
        "the header breaks its grammar",
        "Download it again or export it again.",
    ),
    Defect(
        "header-name",
        _WARNING,
        "the header names another record than its file",
        "Rename the file or mend the header.",
    ),
    Defect(
        "header-encoding",
        _NOTE,
        "the header is not UTF-8; read as Latin-1",
        "Nothing to do; names with accents may look odd.",
    ),
    Defect("header-line-ends", _NOTE, "the header has CR LF line ends", "Nothing to do."),
    Defect(
        "header-initial-value",
        _NOTE,
        "the header's initial value is not the first sample",
        "Nothing to do; common in Challenge 2017.",
    ),
    Defect(
        "header-contradiction",
        _WARNING,
        "two statements of the header contradict each other",
        "Compare with the publisher's header.",
    ),
    Defect(
        "header-cut",
        _WARNING,
        "the header's last line does not end; the file may have been cut off",
        "Download it again; where your own software wrote it, end its last line.",
    ),
    Defect(
        "header-comment",
        _WARNING,
        "the header's comments on age, sex or diagnosis cannot be read, or one is missing",
        "Compare with the publisher's header.",
    ),
    Defect(
        "checksum-absent",
        _NOTE,
        "the header has no checksum; damaged samples would not be noticed",
        "Nothing to do; Challenge 2017 has none.",
    ),
    Defect(
        "checksum-wrong",
        _ERROR,
        "the samples do not match the header's checksum",
        "Download the file again; the data is not what was published.",
    ),
    # --- size
    Defect(
        "data-missing",
        _ERROR,
        "the signal file is missing",
        "Download it; keep it beside its header.",
    ),
    Defect(
        "data-truncated", _ERROR, "the signal is shorter than declared", "Download the file again."
    ),
    Defect(
        "data-overlong",
        _ERROR,
        "the signal is longer than declared",
        "Check the number of samples and leads in the header.",
    ),
    Defect(
        "size-absurd",
        _ERROR,
        "the declared size cannot be true",
        "Mend the header; nothing was allocated.",
    ),
    Defect("length-zero", _ERROR, "the recording holds no sample", "Leave it out."),
    Defect(
        "length-short",
        _WARNING,
        "the recording is shorter than one second",
        "Leave it out, or check the rate.",
    ),
    # --- scale and time
    Defect(
        "gain-zero", _ERROR, "the gain is zero", "Write the gain in units per mV into the header."
    ),
    Defect(
        "gain-negative",
        _ERROR,
        "the gain is negative",
        "Mend the header; flip the signal if it is inverted.",
    ),
    Defect("gain-not-finite", _ERROR, "the gain is not a number", "Mend the header."),
    Defect(
        "gain-absurd",
        _ERROR,
        "the gain is outside what any ECG device uses",
        "Check the gain and the unit.",
    ),
    Defect(
        "gain-unusual",
        _WARNING,
        "the gain is not one that devices use, or differs between leads",
        "Compare with the publisher's header.",
    ),
    Defect(
        "gain-missing",
        _WARNING,
        "no gain is declared; the format's default of 200 per mV is used",
        "Write the gain into the header.",
    ),
    Defect("unit-unknown", _ERROR, "the unit is not a voltage", "Name the unit: V, mV, uV or nV."),
    Defect("unit-missing", _WARNING, "no unit is declared; mV is assumed", "Name the unit."),
    Defect(
        "rate-missing",
        _ERROR,
        "the sampling rate is missing",
        "Give it: in the header, or with --source-rate.",
    ),
    Defect("rate-zero", _ERROR, "the sampling rate is zero or negative", "Mend the header."),
    Defect(
        "rate-absurd",
        _ERROR,
        "the sampling rate is outside 1 Hz to 100 kHz or not a number",
        "Mend the header.",
    ),
    Defect(
        "rate-unusual",
        _WARNING,
        "the sampling rate is not one that ECG devices use",
        "Compare with the publisher's header.",
    ),
    Defect(
        "rate-implausible",
        _WARNING,
        "the signal does not move as a heart does at the declared rate",
        "Compare the rate with the publisher's.",
    ),
    Defect(
        "amplitude-absurd",
        _WARNING,
        "the amplitude cannot come from a heart",
        "Check the gain and the unit.",
    ),
    # --- leads
    Defect(
        "lead-missing",
        _ERROR,
        "a lead that was asked for is missing",
        "Choose other leads with --leads.",
    ),
    Defect(
        "lead-unknown",
        _WARNING,
        "the lead's name is not known",
        "Rename it, or choose the leads by their names here.",
    ),
    Defect("lead-duplicate", _ERROR, "two signals have the same lead name", "Rename one of them."),
    Defect("lead-unnamed", _WARNING, "the signal has no lead name", "Name it in the header."),
    Defect(
        "ecg-missing",
        _ERROR,
        "the file holds no ECG signal",
        "Leave it out, or rename its signals to leads.",
    ),
    Defect(
        "leads-derived",
        _NOTE,
        "limb leads that the file does not store were derived from leads I and II",
        "Nothing to do; Einthoven's and Goldberger's equations are exact.",
    ),
    Defect(
        "lead-off",
        _WARNING,
        "the device reports the electrode as off; the lead is marked invalid",
        "Nothing to do if lead-off is expected.",
    ),
    Defect(
        "signals-not-ecg",
        _NOTE,
        "signals that are no ECG, such as blood pressure, were left out",
        "Nothing to do.",
    ),
    Defect(
        "signals-left-out",
        _WARNING,
        "further signals of the file were left out",
        "Nothing to do if they are no ECG; otherwise export them to a file of their own.",
    ),
    Defect(
        "einthoven-broken",
        _WARNING,
        "limb leads break Einthoven's law (I + III = II, aVR + aVL + aVF = 0)",
        "Electrodes or names may be swapped; check before training.",
    ),
    Defect(
        "einthoven-inexact",
        _NOTE,
        "limb leads obey Einthoven's law only roughly",
        "Nothing to do; they may have been filtered or digitised apart.",
    ),
    Defect(
        "leads-identical",
        _WARNING,
        "two leads carry the same signal",
        "Check the export: a lead was copied.",
    ),
    # --- signal
    Defect(
        "signal-nan",
        _WARNING,
        "samples are NaN or infinite; marked invalid",
        "Nothing to do if lead-off is expected.",
    ),
    Defect(
        "signal-gap",
        _NOTE,
        "the file declares stretches without a measurement; they are marked invalid",
        "Nothing to do.",
    ),
    Defect(
        "signal-flat",
        _WARNING,
        "the signal is flat; the stretch is marked invalid",
        "Check the electrode.",
    ),
    Defect(
        "signal-clipped",
        _WARNING,
        "the signal is clipped at its limits; the stretch is marked invalid",
        "Check the amplifier's range.",
    ),
    Defect("signal-all-invalid", _ERROR, "no sample of the recording is valid", "Leave it out."),
    Defect(
        "signal-noise",
        _WARNING,
        "the signal looks like noise rather than an ECG",
        "Look at it before training.",
    ),
    # --- the subject and the data set
    Defect("age-over-89", _NOTE, "the age is over 89; kept as 90", "Nothing to do."),
    Defect("age-absurd", _WARNING, "the age cannot be true; dropped", "Mend the table."),
    Defect(
        "sex-unknown", _NOTE, "the sex is neither female nor male; left empty", "Nothing to do."
    ),
    Defect("table-malformed", _ERROR, "the data set's table cannot be read", "Download it again."),
    Defect(
        "table-orphan",
        _WARNING,
        "the table names a recording that is not there",
        "Download the missing files.",
    ),
    Defect(
        "table-row-missing",
        _WARNING,
        "the data set's table says nothing of this recording",
        "Its labels and fold stay empty; download the table again.",
    ),
    Defect(
        "identifier-removed",
        _NOTE,
        "names, dates or free text were found and left out",
        "Nothing to do.",
    ),
    Defect(
        "recording-duplicate",
        _WARNING,
        "two recordings hold the same signal",
        "Keep them on one side of any split.",
    ),
    Defect("name-duplicate", _ERROR, "two recordings have the same name", "Rename one."),
    Defect("subject-leak", _ERROR, "one subject is on both sides of a split", "Split by subject."),
    Defect(
        "duplicate-leak",
        _ERROR,
        "one signal is on both sides of a split",
        "Keep duplicates on one side.",
    ),
]

CATALOGUE: dict[str, Defect] = {defect.code: defect for defect in _DEFECTS}
