"""The command line: a verb is the function of the same name, its options are its signature.

Each verb's module is imported only when that verb is called, so `nerula --help` is immediate.
"""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches

from cyclopts import App

from nerula import __version__
from nerula.methods import METHODS

_VERBS = {
    "demo": ("nerula.demo:demo", "The whole story on the bundled real sample."),
    "check": ("nerula.check:check", "Quality and leakage gate: what is wrong, where, what to do."),
    "prepare": ("nerula.prepare:prepare", "Turn any supported source into a store."),
    "merge": ("nerula.merge:merge", "Join the shards of `prepare --shard i/n` into one store."),
    "pretrain": ("nerula.method_line:app", "Train a method on a store; resumes by itself."),
    "embed": ("nerula.embed:embed", "Embeddings of a store or of files as they are."),
    "impute": ("nerula.impute:impute", "Fill the gaps of a recording, with a picture."),
    "export": ("nerula.export:export", "One ONNX file for devices, verified before it is there."),
    "stream": ("nerula.stream:stream", "Live samples in, a line of JSON for every window out."),
    "probe": ("nerula.probe:probe", "One task on a model's embeddings, with intervals."),
    "predict": ("nerula.predict:predict", "What a saved probe says of recordings, in a table."),
    "compare": ("nerula.compare:compare", "Methods x tasks x seeds on one budget, with tables."),
    "search": ("nerula.search:search", "Which arguments of a method are best, on fold 9 alone."),
    "card": ("nerula.card:card", "A model's cards, with results of probe and compare on them."),
    "push": ("nerula.push:push", "Put a model on the Hugging Face hub, its cards with it."),
    "report": ("nerula.report:report", "One HTML file of results, curves, maps and ECGs."),
    "view": ("nerula.view:view", "A page on this machine: recordings, map, filled gaps, probes."),
    "copy": ("nerula.copy:copy", "A finished store to or from an object store, verified."),
    "fetch": ("nerula.fetch:fetch", "Download a data set from its publisher, verified."),
}


ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait sleep: on a busy machine 5 times as fast
    "THP_MEM_ALLOC_ENABLE": "1",  # huge pages for large tensors: fewer page faults
}
"""What torch reads when it is imported, unless the user has set it otherwise."""


def build() -> App:
    """Assemble the application."""
    app = App(
        name="nerula",
        help="Learn ECG representations without labels.",
        version=__version__,
        help_on_error=False,
        help_epilogue="`nerula METHOD --help` shows a method's paper, equations and defaults: "
        + ", ".join(METHODS),
    )
    for verb, (target, summary) in _VERBS.items():
        # An App of its own brings its own epilogue; others would take over this one's.
        own = {} if target.endswith(":app") else {"help_epilogue": ""}
        app.command(target, name=verb, help=summary, **own)
    app.register_install_completion_command(
        help="Let the tab key complete verbs, options, methods, tasks and models."
    )
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb; anything a user can cause ends in one sentence, never in a traceback."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if words[:1] == ["stream"] and "-" in words:
        words.remove("-")  # standard input is read anyway; here it would pass for an option
    if words and _meant(words[0]) in METHODS:
        words.insert(0, "pretrain")  # which says what a method is called, too
    app = build()
    try:
        result = app(words, result_action="return_value")
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(130)
    except Exception as error:
        from nerula.errors import NerulaError

        if debug or not isinstance(error, NerulaError | OSError | MemoryError):
            raise
        _say(str(error) or "Not enough memory.")
        sys.exit(1)
    sys.exit(result if isinstance(result, int) else 0)


def _meant(word: str) -> str | None:
    """The verb or the method that a first word is, or is nearest to."""
    if word.startswith("-"):
        return None
    return next(iter(get_close_matches(word.lower(), [*_VERBS, *METHODS], 1)), None)


def _say(message: str) -> None:
    from rich.console import Console
    from rich.markup import escape

    Console(stderr=True).print(f"[bold red]nerula:[/] {escape(message)}", highlight=False)


if __name__ == "__main__":
    main()
