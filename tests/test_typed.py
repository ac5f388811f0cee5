"""The package is typed for those who install it: its wheel says so, mypy --strict believes it."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USER = Path(__file__).with_name("typed_user.py")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the files that git knows, so that nothing is written into the checkout."""
    source, out = (tmp_path_factory.mktemp(name) for name in ("source", "wheel"))
    listed = subprocess.run(
        ["git", "ls-files", "nerula", "pyproject.toml", "README.md", "LICENSE", "NOTICE"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.split():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out)]
    built = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"no wheel can be built here: {built.stderr.strip()[-200:]}")
    (found,) = out.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_what_is_no_code(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    for needed in ("py.typed", "sample/signals.xz", "weights/nerula-small/model.safetensors"):
        assert f"nerula/{needed}" in names
    assert not [name for name in names if name.startswith(("tests/", "tools/"))]


@pytest.mark.slow
@pytest.mark.timeout(900)  # mypy reads torch without a cache
def test_a_typed_user_is_told_his_mistake_and_nothing_else(wheel: Path, tmp_path: Path) -> None:
    """In an environment where Nerula is installed, not beside its source."""
    home = tmp_path / "home"
    venv.create(home, with_pip=False)
    (site,) = home.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(site)
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (tmp_path / "user.py").write_text(USER.read_text())
    interpreter = str(home / "bin" / "python")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", interpreter, "user.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = [line for line in done.stdout.splitlines() if ": error:" in line]
    mistake = (
        USER.read_text().splitlines().index('    return model.embed("not a signal", rate="fast")')
    )
    assert said, done.stdout + done.stderr
    assert {line.split(":")[1] for line in said} == {str(mistake + 1)}, done.stdout
