"""The verb `report`: one self-contained HTML file from what the other verbs left behind.

`sources` finds it, `answers`, `training`, `cards` and `headlines` make it ready for people,
`pictures` asks models for what only they know, `charts` draws and `page` writes.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nerula.errors import NerulaError, UsageError
from nerula.typed import typed

if TYPE_CHECKING:
    from nerula.report.page import Content
    from nerula.report.sources import Sources

MODELS = 4
"""Models that a page maps; each one takes its time."""


def report(
    *paths: Path,
    out: Path = Path("report.html"),
    recordings: int = 2000,
    title: str = "ECG embeddings: what was learned",
) -> int:
    """Write one HTML file that needs no server and no network: for a laptop, a phone or paper.

    It shows what there is: results with intervals, training curves, a map of the embeddings with
    the ECG behind every dot, gaps filled on ECG paper, curves of few labels and missing signal,
    calibration, subgroups, what was checked, and the commands that repeat every figure.

    Parameters
    ----------
    paths
        Runs, models, stores, what `nerula probe` wrote with --out, or folders that hold these.
    out
        The file to write.
    recordings
        How many recordings to show on the map. Their signals, ages and sexes go into the file:
        with 0 nobody's do: there is no map, and no leads that were rebuilt are drawn.
    title
        What stands at the top.
    """
    from rich.console import Console

    from nerula.files import write_whole
    from nerula.report.page import Content, render
    from nerula.report.sources import find

    if not paths:
        raise UsageError("Of what?", "Give a run, a model, a store or a folder of results.")
    if recordings < 0:
        raise UsageError("There cannot be fewer than no recordings on the map.")
    sources = find(paths)
    content = Content(title=title, command=typed())
    _read(sources, content)
    if not recordings:
        for asked in content.tasks:
            asked.examples = []
    elif sources.models or sources.stores:
        _draw(sources, content, recordings)
    _sum_up(sources, content)
    out.parent.mkdir(parents=True, exist_ok=True)
    page = render(content)
    write_whole(out, page)
    console = Console(highlight=False)
    for one in sources.left_out:
        console.print(f"Left out: {one}", markup=False, soft_wrap=True)
    size = len(page.encode()) / 1e6
    console.print(f"Written: {out} ({size:.1f} MB)", markup=False, soft_wrap=True)
    count = len(content.recordings.name) if content.maps and content.recordings else 0
    if count := count or sum(bool(one.examples) for one in content.tasks):
        held = f"{count:,} recording{'s' if count > 1 else ''}"
        console.print(f"It holds {held}; with --recordings 0 it holds none.")
    console.print("Next: open it in a browser, or send it to somebody.")
    return 0


def _read(sources: "Sources", content: "Content") -> None:
    """What files say by themselves."""
    from nerula.report import answers, cards, training
    from nerula.store import Store

    content.comparisons = sources.tables
    content.tasks = answers.grouped(sources.results)
    for folder in sources.runs:
        try:
            trained = training.read(folder)
        except NerulaError as error:
            sources.left_out.append(str(error))
            continue
        content.runs += [trained] if trained else []
    for folder in sources.stores:
        content.data_cards.append(cards.data_card(Store.open(folder)))
    for folder in sources.models:
        try:
            content.model_cards.append(cards.model_card(_name(folder, sources.models), folder))
        except NerulaError as error:
            sources.left_out.append(str(error))


def _draw(sources: "Sources", content: "Content", recordings: int) -> None:
    """What only models know: where they put recordings, and how they fill gaps."""
    from nerula.report import cards, pictures

    with pictures.opened(sources.stores, sources.caches) as (store, cache):
        content.recordings = pictures.shown(store, recordings)
        content.attribution = cards.attribution(store)
        ordered = sorted(sources.models, key=lambda one: _rank(one, sources.models))
        for folder in ordered[:MODELS]:
            name = _name(folder, sources.models)
            try:
                model = pictures.load(folder)
                drawn = pictures.embedding_map(name, model, store, content.recordings, cache)
                filled = pictures.filling(name, model, content.recordings)
            except NerulaError as error:
                sources.left_out.append(str(error))
                continue
            content.maps += [drawn] if drawn else []
            content.fillings += [filled] if filled else []


def _sum_up(sources: "Sources", content: "Content") -> None:
    from nerula.report import headlines, words

    for asked in content.tasks:
        asked.sentences = [
            one for one in (headlines.few_labels(asked), headlines.missing(asked)) if one
        ]
    content.headlines = [headlines.headline(asked) for asked in content.tasks]
    content.also = headlines.also(content.runs, content.fillings)
    content.cautions = headlines.cautions(content.tasks, content.runs, sources.left_out)
    made: dict[str, list[str]] = {}
    for run in content.runs:
        made.setdefault(run.command, []).append(f"training of {run.name}")
    counted = Counter((one.document["command"], words.asked(one.document))
                      for one in sources.results)  # fmt: skip
    for (command, title), count in counted.items():
        results = f"{count} results" if count > 1 else "1 result"
        made.setdefault(command, []).append(f"{title}, {results}")
    own = ["this page", *["its map"] * bool(content.maps)]
    own += ["its filled gaps"] * bool(content.fillings)
    made.setdefault(content.command, []).append(words.listed(own))
    content.commands = [(command, what) for command, what in made.items() if command]


def _name(folder: Path, among: Sequence[Path]) -> str:
    """A model's name: its method, and where it lies only if several have that method."""
    from nerula.run import MODEL

    if sum(_method(one) == _method(folder) for one in among) == 1:
        return _method(folder)
    own = (folder.parent if folder.name == MODEL else folder).resolve()
    if not own.name.startswith("seed-"):
        return own.name
    seeds = [one for one in among if own.parent in one.resolve().parents]
    return own.parent.name if len(seeds) == 1 else f"{own.parent.name} {own.name}"


def _method(model: Path) -> str:
    from nerula.run import CONFIG, read_json

    return str(read_json(model / CONFIG).get("method"))


def _rank(folder: Path, among: Sequence[Path]) -> tuple[bool, bool]:
    """NERULA's own model first, then its relatives, then the others as they come."""
    return not _name(folder, among).startswith("nerula"), _method(folder) != "nerula"
