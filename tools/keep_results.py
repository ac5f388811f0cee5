"""Keep results of `nerula probe --out` in the repository: `python tools/keep_results.py OUT NAME`.

Documents go to `results/probed/NAME/TASK.PROBE.json` without the predictions beside them; in their
commands the model, the data and the output folder of this machine become MODEL, DATA and OUT. Only
results of the models whose fingerprint begins with `--model` are kept.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from nerula.files import write_whole

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Read the command line and copy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("name")
    parser.add_argument("--model", default="", help="the first digits of its fingerprint")
    words = parser.parse_args()
    folder = ROOT / "results" / "probed" / words.name
    found = sorted((words.out / "results").rglob(f"{words.model}*.json"))
    for path in found:
        document = json.loads(path.read_text(encoding="utf-8"))
        document["command"] = _without_places(document["command"], words.name)
        document.pop("predictions", None)
        _, _, ending = path.name.split(".", 2)
        place = folder / f"{path.parent.name}.{ending}"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, json.dumps(document, indent=1) + "\n")
    print(f"{folder}: {len(found)} results")
    return 0 if found else 1


def _without_places(command: str, name: str) -> str:
    """`nerula probe MODEL TASK DATA ...` with a name for what lies on this machine."""
    given: list[Any] = shlex.split(command)
    given[0] = "nerula"
    if "/" in given[2]:
        given[2] = name
    if len(given) > 4 and not given[4].startswith("-"):
        given[4] = "DATA"
    if "--out" in given:
        given[given.index("--out") + 1] = "OUT"
    return shlex.join(given)


if __name__ == "__main__":
    sys.exit(main())
