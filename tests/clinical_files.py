"""Writers of clinical files for the tests: real ECG in, a file as devices write it out."""

import base64
import struct
import warnings
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

TWELVE = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
SCP_CODES = dict(zip(TWELVE, (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), strict=True))


@cache
def real_ecg() -> NDArray[np.int16]:
    """A person's ECG from a hospital's DICOM file, which pydicom ships: (12 leads, 10,000 samples)
    at 1,000 Hz in steps of 1.25 µV, in the order of `TWELVE`."""
    dataset = pydicom.dcmread(get_testdata_file("waveform_ecg.dcm"))
    steps = dataset.waveform_array(0).T / 1.25
    rounded = np.rint(steps).astype(np.int16)
    assert np.array_equal(rounded, steps)
    rounded.flags.writeable = False
    return rounded


def excerpt(leads: Sequence[str], samples: int, every: int = 4) -> NDArray[np.int16]:
    """A piece of the real ECG at 1000 / every Hz, in steps of 1.25 µV."""
    return real_ecg()[[TWELVE.index(lead) for lead in leads], : samples * every : every]


# --- EDF ---------------------------------------------------------------------------------------


def edf(
    signals: Sequence[dict[str, Any]],
    *,
    seconds: str = "1",
    onsets: Sequence[str] | None = None,
    patient: str = "X X X X",
    recording: str = "Startdate X X X X",
    start: str = "01.01.85",
    plus: str = "",
    width: int = 2,
    notes: str = "",
) -> bytes:
    """An EDF or BDF file. A signal is label, unit, limits (of what is written), x (whole numbers)
    and n (samples of a record); `onsets` adds the annotations that say when records begin."""
    records = len(signals[0]["x"]) // signals[0]["n"]
    name = "EDF" if width == 2 else "BDF"
    blocks = [_records(s["x"], s["n"], width) for s in signals]
    rows: list[dict[str, Any]] = list(signals)
    if onsets is not None:
        blocks.append([_tal(onset, notes).ljust(20 * width, b"\0") for onset in onsets])
        limit = 1 << (8 * width - 1)
        limits = ("-1", "1", str(-limit), str(limit - 1))
        rows.append({"label": f"{name} Annotations", "unit": "", "limits": limits, "n": 20})
    fields: list[tuple[int, list[str]]] = [
        (16, [r["label"] for r in rows]), (80, [r.get("transducer", "") for r in rows]),
        (8, [r["unit"] for r in rows]), *((8, [r["limits"][i] for r in rows]) for i in range(4)),
        (80, ["" for _ in rows]), (8, [str(r["n"]) for r in rows]), (32, ["" for _ in rows]),
    ]  # fmt: skip
    head = "".join(
        text.ljust(size)
        for text, size in (
            (patient, 80), (recording, 80), (start, 8), ("10.00.00", 8),
            (str(256 * (len(rows) + 1)), 8), (f"{name}+{plus}" if plus else "", 44),
            (str(records), 8), (seconds, 8), (str(len(rows)), 4),
        )
    )  # fmt: skip
    text = head + "".join(cell.ljust(size) for size, cells in fields for cell in cells)
    version = b"0       " if width == 2 else b"\xffBIOSEMI"
    return (
        version + text.encode("latin-1") + b"".join(b"".join(r) for r in zip(*blocks, strict=True))
    )


def _records(x: NDArray[Any], n: int, width: int) -> list[bytes]:
    raw = x.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    return [raw[i : i + n * width] for i in range(0, len(raw), n * width)]


def _tal(onset: str, notes: str) -> bytes:
    note = f"{onset}\x14{notes}\x14\0" if notes else ""
    return f"{onset}\x14\x14\0{note}".encode()


def edf_signals(leads: Sequence[str], samples: int, n: int, **more: Any) -> list[dict[str, Any]]:
    """Signals for `edf`, in steps of 1.25 µV."""
    limits = ("-40960", "40958.75", "-32768", "32767")
    return [
        {"label": f"ECG {lead}", "unit": "uV", "limits": limits, "x": x, "n": n, **more}
        for lead, x in zip(leads, excerpt(leads, samples), strict=True)
    ]


# --- DICOM -------------------------------------------------------------------------------------


def dicom(
    leads: Sequence[str],
    samples: NDArray[Any],
    *,
    rate: str = "250",
    sensitivity: str = "1.25",
    unit: str = "uV",
    syntax: str = "1.2.840.10008.1.2.1",
    interpretation: str = "SS",
    padding: int | None = None,
    beat: bool = False,
) -> pydicom.Dataset:
    """A 12-lead (or general) ECG object. `beat` adds a derived group of median beats."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.3.4"
    dataset.StudyDate, dataset.Modality = "20240601", "ECG"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "MRN 4711"
    dataset.PatientBirthDate, dataset.PatientSex = "19600602", "F"
    channels = [_channel(lead, sensitivity, unit) for lead in leads]
    groups = [_group(channels, samples, rate, "ORIGINAL", interpretation)]
    if padding is not None:
        groups[0].WaveformPaddingValue = np.array([padding], samples.dtype).tobytes()
    if beat:
        groups.insert(0, _group(channels, samples[:, :50], rate, "DERIVED", interpretation))
    dataset.WaveformSequence = groups
    return dataset


def _channel(lead: str, sensitivity: str, unit: str) -> pydicom.Dataset:
    channel = pydicom.Dataset()
    code = f"5.6.3-9-{SCP_CODES[lead]}"
    channel.ChannelSourceSequence = [_code(code, "SCPECG", f"Lead {lead}")]
    channel.ChannelSensitivity = sensitivity
    channel.ChannelSensitivityUnitsSequence = [_code(unit, "UCUM", "")]
    channel.ChannelSensitivityCorrectionFactor = "1"
    channel.ChannelBaseline = "0"
    channel.WaveformBitsStored = 16
    return channel


def _code(value: str, scheme: str, meaning: str) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _group(
    channels: list[pydicom.Dataset], x: NDArray[Any], rate: str, origin: str, interpretation: str
) -> pydicom.Dataset:
    group = pydicom.Dataset()
    group.WaveformOriginality = origin
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = x.shape
    group.SamplingFrequency = rate
    group.ChannelDefinitionSequence = channels
    group.WaveformBitsAllocated = 8 * x.dtype.itemsize
    group.WaveformSampleInterpretation = interpretation
    data = np.ascontiguousarray(x.T).tobytes()
    group.WaveformData = data + b"\0" * (len(data) % 2)
    group["WaveformData"].VR = "OB" if x.dtype.itemsize == 1 else "OW"
    return group


def save_dicom(dataset: pydicom.Dataset, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(path, enforce_file_format=True)
    return path


# --- XML ---------------------------------------------------------------------------------------


def muse(
    leads: Sequence[str],
    samples: NDArray[np.int16],
    *,
    rate: int = 250,
    step: str = "1.25",
    units: str = "MICROVOLTS",
    off: Sequence[str] = (),
    head: str = '<?xml version="1.0" encoding="ISO-8859-1"?>\n'
    '<!DOCTYPE RestingECG SYSTEM "restecg.dtd">\n',
) -> str:
    """A `RestingECG` as GE MUSE exports it: median beats first, then the rhythm."""
    beat = _muse_wave("Median", leads, samples[:, :60], rate, step, units, ())
    rhythm = _muse_wave("Rhythm", leads, samples, rate, step, units, off)
    return f"""{head}<RestingECG>
<PatientDemographics><PatientID>MRN 4711</PatientID><PatientAge>63</PatientAge>
<AgeUnits>YEARS</AgeUnits><DateofBirth>06-02-1960</DateofBirth><Gender>FEMALE</Gender>
<PatientLastName>D\u00f6e</PatientLastName></PatientDemographics>
<TestDemographics><AcquisitionDate>06-01-2024</AcquisitionDate></TestDemographics>
<Diagnosis><DiagnosisStatement><StmtText>Normal</StmtText></DiagnosisStatement></Diagnosis>
{beat}{rhythm}</RestingECG>
"""


def _muse_wave(
    kind: str, leads: Sequence[str], samples: NDArray[np.int16], rate: int, step: str, units: str,
    off: Sequence[str],
) -> str:  # fmt: skip
    parts = []
    for lead, x in zip(leads, samples, strict=True):
        data = x.astype("<i2").tobytes()
        parts.append(f"""<LeadData><LeadByteCountTotal>{len(data)}</LeadByteCountTotal>
<LeadSampleCountTotal>{len(x)}</LeadSampleCountTotal>
<LeadAmplitudeUnitsPerBit>{step}</LeadAmplitudeUnitsPerBit>
<LeadAmplitudeUnits>{units}</LeadAmplitudeUnits><LeadID>{lead}</LeadID>
<LeadSampleSize>2</LeadSampleSize><LeadOff>{str(lead in off).upper()}</LeadOff>
<LeadDataCRC32>{zlib.crc32(data)}</LeadDataCRC32>
<WaveFormData>{base64.encodebytes(data).decode()}</WaveFormData></LeadData>
""")
    return f"""<Waveform><WaveformType>{kind}</WaveformType>
<NumberofLeads>{len(leads)}</NumberofLeads><SampleBase>{rate}</SampleBase>
<SampleExponent>0</SampleExponent>
{"".join(parts)}</Waveform>
"""


def aecg(
    leads: Sequence[str],
    samples: NDArray[np.int16],
    *,
    increment: str = "0.004",
    unit: str = "s",
    scale: tuple[str, str] = ("1.25", "uV"),
    origin: tuple[str, str] = ("0", "uV"),
) -> str:
    """An `AnnotatedECG` with a rhythm and, derived from it, a representative beat."""
    rhythm = _sequences(leads, samples, increment, unit, scale, origin)
    beat = _sequences(leads, samples[:, :60], increment, unit, scale, origin)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<effectiveTime><low value="20240601101500"/></effectiveTime>
<componentOf><timepointEvent><componentOf><subjectAssignment><subject><trialSubject>
<id root="1.2.3" extension="MRN 4711"/><subjectDemographicPerson><name>J. Doe</name>
<administrativeGenderCode code="F"/><birthTime value="19600602"/></subjectDemographicPerson>
</trialSubject></subject></subjectAssignment></componentOf></timepointEvent></componentOf>
<component><series><code code="RHYTHM"/>{rhythm}<derivation><derivedSeries>
<code code="REPRESENTATIVE_BEAT"/>{beat}</derivedSeries></derivation></series></component>
</AnnotatedECG>
"""


def _sequences(
    leads: Sequence[str], samples: NDArray[np.int16], increment: str, unit: str,
    scale: tuple[str, str], origin: tuple[str, str],
) -> str:  # fmt: skip
    times = f"""<component><sequence><code code="TIME_ABSOLUTE"/><value xsi:type="GLIST_TS">
<head value="20240601101500.000"/><increment value="{increment}" unit="{unit}"/></value>
</sequence></component>
"""
    parts = [
        f"""<component><sequence><code code="MDC_ECG_LEAD_{lead.upper()}"/>
<value xsi:type="SLIST_PQ"><origin value="{origin[0]}" unit="{origin[1]}"/>
<scale value="{scale[0]}" unit="{scale[1]}"/><digits>{" ".join(map(str, x))}</digits></value>
</sequence></component>
"""
        for lead, x in zip(leads, samples, strict=True)
    ]
    return f"<component><sequenceSet>{times}{''.join(parts)}</sequenceSet></component>"


# --- tables ------------------------------------------------------------------------------------


def csv(header: str, *columns: Any, separator: str = ",", form: str = "%.5f") -> str:
    """A table with a header and the columns below it."""
    lines = [separator.join(form % cell for cell in row) for row in zip(*columns, strict=True)]
    return "\n".join([header, *lines, ""])


def npy(descr: str, shape: str, body: bytes = b"", fortran: str = "False") -> bytes:
    """A `.npy` file that declares whatever one likes."""
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + body
