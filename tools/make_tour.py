"""Run the README's tour and paste what it prints: `python tools/make_tour.py`.

Every block between `<!-- tour: COMMAND -->` and `<!-- end -->` is replaced by the command and its
output, run one after the other in one empty folder.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"<!-- tour: (?P<command>.+?) -->\n(?:.*?)<!-- end -->", re.DOTALL)
WIDTH = 88


def main() -> None:
    """Renew the README."""
    text = README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        README.write_text(BLOCK.sub(lambda block: _run(block["command"], folder), text), "utf-8")


def _run(command: str, folder: str) -> str:
    words = command.split()
    program = Path(sys.executable).with_name(words[0])
    environment = os.environ | {"COLUMNS": str(WIDTH), "NO_COLOR": "1"}
    done = subprocess.run(
        [program, *words[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stdout}{done.stderr}")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    output = "\n".join(lines).strip()
    return f"<!-- tour: {command} -->\n```console\n$ {command}\n{output}\n```\n<!-- end -->"


if __name__ == "__main__":
    main()
