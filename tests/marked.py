"""A ward that leaves a mark for every recording that is read: which one, and by which process."""

import os
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from nerula.readers.source import Entry
from nerula.recording import Recording
from tests.ward import Ward


@dataclass(frozen=True)
class Marked(Ward):
    """Marks are empty files ROW-PROCESS-anything."""

    marks: Path = Path("/nowhere")

    def read(self, entry: Entry) -> Recording:
        (self.marks / f"{entry.row}-{os.getpid()}-{uuid4().hex}").touch()
        return super().read(entry)
