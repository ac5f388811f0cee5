"""The catalogue of defects: every code that a reader, `check` or `prepare` can report.

A *note* is a harmless quirk, a *warning* leaves the recording usable (the affected stretch is
marked invalid where that applies), an *error* keeps the recording out of a store.
"""

from collections.abc import Iterable
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
        numbered = self.lead.startswith("lead ")  # a signal without a name
        lead = f"{'' if numbered else 'lead '}{self.lead}: " if self.lead else ""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{where}{lead}{self.defect.meaning}{detail} [{self.code}]"


def _note(code: str, meaning: str, remedy: str) -> Defect:
    return Defect(code, Severity.NOTE, meaning, remedy)


def _warning(code: str, meaning: str, remedy: str) -> Defect:
    return Defect(code, Severity.WARNING, meaning, remedy)


def _error(code: str, meaning: str, remedy: str) -> Defect:
    return Defect(code, Severity.ERROR, meaning, remedy)


# fmt: off
_DEFECTS = [
    # --- the file
    _error("file-missing", "the file does not exist", "Check the path; download the file again."),
    _error("file-empty", "the file is empty", "Download the file again."),
    _error("file-unreadable", "the file cannot be read", "Check its permissions and the disk."),
    _error("file-too-large", "the file is larger than its format allows",
           "Split it, or check that it is what it claims."),
    _error("reader-failed", "the reader failed in a way it should not",
           "Please report this, if possible with the file."),
    _error("source-empty", "no recording was found here",
           "Check the path; say what it holds with --as."),
    _error("store-damaged", "the store is not what was written",
           "Prepare it again from its source."),
    _error("format-unknown", "the format is not recognised",
           "Convert it to WFDB, EDF, CSV or NumPy."),
    _error("format-unsupported", "this variant of the format is not supported",
           "Install nerula[wfdb], or convert the file."),
    _error("format-malformed", "the file breaks its format's grammar",
           "Export it again from its source."),
    _error("format-scp", "SCP-ECG is not read",
           "Convert it to DICOM or aECG XML first, for example with the open ECG toolkit."),
    _error("path-outside", "a name in the file points outside its folder",
           "Do not trust this file; keep data beside its header."),
    _error("code-in-data", "the file holds objects that would run code when loaded",
           "Save plain numeric arrays instead."),
    _error("xml-entity", "the XML declares entities, which is how XML attacks work",
           "Export it again without a DTD."),
    # --- the header
    _error("header-malformed", "the header breaks its grammar",
           "Download it again or export it again."),
    _warning("header-name", "the header names another record than its file",
             "Rename the file or mend the header."),
    _note("header-encoding", "the header is not UTF-8; read as Latin-1",
          "Nothing to do; names with accents may look odd."),
    _note("header-line-ends", "the header has CR LF line ends", "Nothing to do."),
    _note("header-initial-value", "the header's initial value is not the first sample",
          "Nothing to do; common in Challenge 2017."),
    _warning("header-contradiction", "two statements of the header contradict each other",
             "Compare with the publisher's header."),
    _warning("header-cut", "the header may be cut off: its last line does not end, or is blank",
             "Download it again; where your own software wrote it, end the last line, once."),
    _warning("header-comment",
             "the header's comments on age, sex or diagnosis cannot be read, or one is missing",
             "Compare with the publisher's header."),
    _note("checksum-absent", "the header has no checksum; damaged samples would not be noticed",
          "Nothing to do; Challenge 2017 has none."),
    _error("checksum-wrong", "the samples do not match the header's checksum",
           "Download the file again; the data is not what was published."),
    # --- size
    _error("data-missing", "the signal file is missing",
           "Download it; keep it beside its header."),
    _error("data-truncated", "the signal is shorter than declared", "Download the file again."),
    _error("data-overlong", "the signal is longer than declared",
           "Check the number of samples and leads in the header."),
    _error("size-absurd", "the declared size cannot be true",
           "Mend the header; nothing was allocated."),
    _error("length-zero", "the recording holds no sample", "Leave it out."),
    _warning("length-short", "the recording is shorter than one second",
             "Leave it out, or check the rate."),
    # --- scale and time
    _error("gain-zero", "the gain is zero", "Write the gain in units per mV into the header."),
    _error("gain-negative", "the gain is negative",
           "Mend the header; flip the signal if it is inverted."),
    _error("gain-not-finite", "the gain is not a number", "Mend the header."),
    _error("gain-absurd", "the gain is outside what any ECG device uses",
           "Check the gain and the unit."),
    _warning("gain-unusual", "the gain is not one that devices use, or differs between leads",
             "Compare with the publisher's header."),
    _warning("gain-missing", "no gain is declared; the format's default of 200 per mV is used",
             "Write the gain into the header."),
    _error("unit-unknown", "the unit is not a voltage, or not known",
           "Name the unit: V, mV, uV or nV."),
    _warning("unit-missing", "no unit is declared; mV is assumed",
             "Name the unit: in the file, or with --source-unit."),
    _error("rate-missing", "the sampling rate is missing",
           "Give it: in the header, or with --source-rate (of a stream, --rate)."),
    _error("rate-zero", "the sampling rate is zero or negative", "Mend the header."),
    _error("rate-absurd", "the sampling rate is outside 1 Hz to 100 kHz or not a number",
           "Mend the header."),
    _warning("rate-unusual", "the sampling rate is not one that ECG devices use",
             "Compare with the publisher's header."),
    _warning("rate-implausible", "the signal does not move as a heart does at the declared rate",
             "Compare the rate with the publisher's."),
    _warning("amplitude-absurd", "the amplitude cannot come from a heart",
             "Check the gain and the unit."),
    # --- leads
    _error("lead-missing", "a lead that was asked for is missing",
           "Choose leads that it has."),
    _warning("lead-unknown", "the lead's name is not known",
             "Rename it, or choose the leads by their names here."),
    _error("lead-duplicate", "two signals have the same lead name", "Rename one of them."),
    _warning("lead-unnamed", "the signal has no lead name", "Name it in the header."),
    _error("ecg-missing", "the file holds no ECG signal",
           "Leave it out, or rename its signals to leads."),
    _note("leads-derived",
          "limb leads that the file does not store were derived from leads I and II",
          "Nothing to do; Einthoven's and Goldberger's equations are exact."),
    _warning("lead-off", "the device reports the electrode as off; the lead is marked invalid",
             "Nothing to do if lead-off is expected."),
    _note("signals-not-ecg", "signals that are no ECG, such as blood pressure, were left out",
          "Nothing to do."),
    _warning("signals-left-out", "further signals of the file were left out",
             "Nothing to do if they are no ECG; otherwise export them to a file of their own."),
    _warning("einthoven-broken",
             "limb leads break Einthoven's law (I + III = II, aVR + aVL + aVF = 0)",
             "Electrodes or names may be swapped; check before training."),
    _note("einthoven-inexact", "limb leads obey Einthoven's law only roughly",
          "Nothing to do; they may have been filtered or digitised apart."),
    _warning("leads-identical", "two leads carry the same signal",
             "Check the export: a lead was copied."),
    # --- signal
    _warning("signal-nan", "samples are NaN or infinite; marked invalid",
             "Nothing to do if lead-off is expected."),
    _note("signal-gap",
          "the file declares stretches without a measurement; they are marked invalid",
          "Nothing to do."),
    _warning("time-gap", "the times jump; the missing stretch is marked invalid",
             "Look for what was lost, or leave the recording out."),
    _warning("data-cut", "the last line has no end; the file may have been cut",
             "Compare its length with its source."),
    _warning("signal-flat", "the signal is flat; the stretch is marked invalid",
             "Check the electrode."),
    _warning("signal-clipped",
             "the signal is clipped at its limits; the stretch is marked invalid",
             "Check the amplifier's range."),
    _error("signal-all-invalid", "no sample of the recording is valid", "Leave it out."),
    _warning("signal-noise", "the signal looks like noise rather than an ECG",
             "Look at it before training."),
    # --- the subject and the data set
    _note("age-over-89", "the age is over 89; kept as 90", "Nothing to do."),
    _warning("age-absurd", "the age cannot be true; dropped", "Mend the table."),
    _note("sex-unknown", "the sex is neither female nor male; left empty", "Nothing to do."),
    _error("table-malformed", "the data set's table cannot be read", "Download it again."),
    _warning("table-orphan", "the table names a recording that is not there",
             "Download the missing files."),
    _warning("table-row-missing", "the data set's table says nothing of this recording",
             "Its labels and fold stay empty; download the table again."),
    _note("identifier-removed", "names, dates or free text were found and left out",
          "Nothing to do."),
    _warning("recording-duplicate", "two recordings hold the same signal",
             "Keep them on one side of any split."),
    _error("name-duplicate", "two recordings have the same name", "Rename one."),
    _error("subject-leak", "one subject is on both sides of a split", "Split by subject."),
    _error("duplicate-leak", "one signal is on both sides of a split",
           "Keep duplicates on one side."),
]
# fmt: on


def warned(findings: Iterable[Finding]) -> set[str]:
    """The codes of those that put a recording in doubt without refusing it."""
    return {one.code for one in findings if one.severity is Severity.WARNING}


CATALOGUE: dict[str, Defect] = {defect.code: defect for defect in _DEFECTS}
