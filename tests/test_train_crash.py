"""Training, killed, starved and told to stop: a short `make torture`."""

import pytest

from nerula.run import checkpoints
from tools import torture
from tools.torture import SCENARIOS, STEPS, Victim

pytestmark = pytest.mark.skipif(not hasattr(torture.os, "fork"), reason="kills by signals")

SHORT = {"kill -9": 6, "kill -9 in a checkpoint": 4, "disk full": 2, "SIGTERM": 2, "torn": 3}


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return Victim.prepared(tmp_path_factory.mktemp("torture"), seed=1)


def test_every_scenario_is_here() -> None:
    assert set(SHORT) == set(SCENARIOS) == set(torture.TIMES)


@pytest.mark.parametrize("name", SCENARIOS)
def test_whatever_happens_it_ends_with_the_same_bits(name: str, victim: Victim) -> None:
    row = SCENARIOS[name](victim, SHORT[name])
    assert row.times >= min(SHORT[name], 2)
    assert row.good, row


def test_files_that_may_not_grow_are_a_clear_error_and_nothing_is_lost(victim: Victim) -> None:
    row = torture.fewer_bytes(victim, 2)
    assert row.good, row


@pytest.mark.parametrize("moment", [-2, 2])
def test_a_checkpoint_in_the_making_is_not_there(moment: int, victim: Victim) -> None:
    """Killed while the third is written: the second is the newest, and a part lies beside it."""
    run = victim.new()
    code = torture.ended(victim.start(run, lambda: torture.die_in_save(3, moment)))
    assert code == -torture.signal.SIGKILL
    assert [path.name[-14:-12] for path in checkpoints(run)] == ["01", "02"]
    assert len(list(run.rglob("*.partial"))) == 1
    row = torture.Row("")
    victim.judge(run, row)
    assert row.good


def test_an_end_that_differs_is_seen(victim: Victim) -> None:
    """The comparison itself: another seed is another end."""
    run, row = victim.new(), torture.Row("")
    options = torture.OPTIONS | {"seed": 1}
    work = lambda: torture.pretrain(torture.METHOD, victim.folder / "store", run, **options)  # noqa: E731
    assert torture.ended(torture.in_a_child(work)) == 0
    row.resumed, row.identical = 1, int(torture.end_of(run) == victim.expected)
    assert not row.good


def test_damage_that_is_there_is_seen(victim: Victim) -> None:
    run = victim.new()
    torture.ended(victim.start(run, lambda: torture.die_in_save(STEPS - 1, 0)))
    assert torture.unreadable(run) == 0
    torture.damage(checkpoints(run)[-1], 0, victim.chance)
    assert torture.unreadable(run) == 1
