"""The verb `card`: a model's cards, with results of `probe` and `compare` on them."""

from pathlib import Path


def card(model: Path, *results: Path) -> int:
    """Write a model's cards again, with results on them.

    README.md and DATA.md follow from config.json and from results.json beside it, which keeps what
    is added here; a result of the same question takes the place of an older one.

    Parameters
    ----------
    model
        Folder of a model or of a finished run.
    results
        Documents that `nerula probe --out` or `nerula compare` has written, or folders of them.
    """
    from rich.console import Console

    from nerula import brought, bundle, cards
    from nerula.errors import UsageError
    from nerula.schema import CARD, DATA_CARD

    folder = bundle.found(model)
    found = [path for one in results for path in (sorted(one.rglob("*.json")) if one.is_dir()
                                                  else [one])]  # fmt: skip
    if results and not found:
        raise UsageError(
            "There are no results in these folders.", "nerula probe --out makes some."
        )
    named = folder.name if folder.parent == brought.WEIGHTS else None
    cards.add_results(folder, found, named)
    lines = [
        f"Results added: {len(found)}. {folder / CARD}, {folder / DATA_CARD}",
        f"Next: nerula push {model} USER/NAME",
    ]
    Console().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    return 0
