"""Where data sets are published, what of them is fetched, and under which licence."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_LISTED = "https://physionet.org/files/"
_CC_BY = "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/"
_ODC_BY = "ODC-By 1.0, https://opendatacommons.org/licenses/by/1-0/"


@dataclass(frozen=True)
class Publication:
    """One data set as its publisher offers it."""

    title: str
    licence: str
    cite: str
    address: str
    wanted: str
    """A pattern for the names in the publisher's list of checksums."""
    sizes: Mapping[str, int]
    """Bytes of a typical file by the end of its name, to say beforehand how much will come."""
    checksums: Mapping[str, str] | None = None
    """SHA-256 by name, where the publisher has no list."""
    archives: Mapping[str, str] = field(default_factory=dict)
    """Archives to unpack, in this order, and a pattern for the members that are expected."""
    unpacked: int = 0
    """Bytes that the archives become."""

    def is_wanted(self, name: str) -> bool:
        """Whether a listed file belongs to what is fetched."""
        return re.fullmatch(self.wanted, name) is not None

    def size(self, name: str) -> int:
        """Return about how large a file is."""
        return next((size for end, size in self.sizes.items() if name.endswith(end)), 2_000)


def _ptbxl(folders: str) -> Publication:
    return Publication(
        "PTB-XL 1.0.3: 21,799 twelve-lead ECGs of 10 s",
        _CC_BY,
        "Wagner et al. 2020, https://doi.org/10.13026/kfzx-aw45",
        f"{_LISTED}ptb-xl/1.0.3/",
        rf"(?:ptbxl_database|scp_statements)\.csv|LICENSE\.txt|RECORDS|(?:{folders})/.+",
        {"_lr.dat": 24_000, "_hr.dat": 120_000, ".hea": 620, "database.csv": 6_600_000},
    )


def _challenge(title: str, doi: str, address: str, typical: int) -> Publication:
    return Publication(
        title,
        _CC_BY,
        f"https://doi.org/{doi}",
        f"{_LISTED}{address}",
        r"LICENSE\.txt|RECORDS|training/.+",
        {".mat": typical, ".hea": 800},
    )


PUBLICATIONS: dict[str, Publication] = {
    "ptbxl": _ptbxl("records100|records500"),
    "ptbxl100": _ptbxl("records100"),
    "ptbxl500": _ptbxl("records500"),
    "challenge2017": Publication(
        "PhysioNet/CinC Challenge 2017: 8,528 recordings with a hand-held device",
        _ODC_BY,
        "Clifford et al. 2017, https://doi.org/10.22489/CinC.2017.065-469",
        f"{_LISTED}challenge-2017/1.0.0/",
        r"REFERENCE-v3\.csv|training2017\.zip|LICENSE\.txt",
        {"training2017.zip": 95_000_000},
        archives={"training2017.zip": r"training2017/[A-Za-z0-9_.-]+"},
        unpacked=170_000_000,
    ),
    "challenge2020": _challenge(
        "PhysioNet/CinC Challenge 2020: 43,101 twelve-lead ECGs",
        "10.13026/dvyd-kd57",
        "challenge-2020/1.0.2/",
        186_000,
    ),
    "challenge2021": _challenge(
        "PhysioNet/CinC Challenge 2021: 88,253 twelve-lead ECGs",
        "10.13026/34va-7q14",
        "challenge-2021/1.0.3/",
        152_000,
    ),
    "ucihar": Publication(
        "UCI HAR: 10,299 windows of a phone's motion, 30 people",
        f"{_CC_BY}; the README inside prohibits commercial use",
        "Reyes-Ortiz et al. 2013, https://doi.org/10.24432/C54S4K",
        "https://archive.ics.uci.edu/static/public/240/",
        r".+\.zip",
        {".zip": 61_005_872},
        checksums={
            # the archive publishes no checksum; this is what it has served for years
            "human+activity+recognition+using+smartphones.zip": (
                "c00b803081a5c797cd5e4b83700a9810b38d53d9d84e01917e090e1fdbc81031"
            )
        },
        archives={
            "human+activity+recognition+using+smartphones.zip": r"UCI HAR Dataset\.zip",
            "UCI HAR Dataset.zip": r"UCI HAR Dataset/[A-Za-z0-9_ ./-]+\.txt",
        },
        unpacked=340_000_000,
    ),
    "ecgid": Publication(
        "ECG-ID: 310 recordings of 90 volunteers",
        _ODC_BY,
        "Lugovaya 2005, https://doi.org/10.13026/C2J01F",
        f"{_LISTED}ecgiddb/1.0.0/",
        r"LICENSE\.txt|README|RECORDS|ANNOTATORS|Person_\d{2}/rec_\d{1,2}\.(?:hea|dat|atr)",
        {".dat": 40_000, ".hea": 200, ".atr": 50},
    ),
}
