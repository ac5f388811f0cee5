"""The verb `push`: a model to the Hugging Face hub, its cards with it."""

from typing import Annotated

from cyclopts import Parameter

from nerula.completion import ModelName


def push(
    model: ModelName,
    name: str,
    *,
    public: Annotated[bool, Parameter(negative="")] = False,
    message: str = "A model of Nerula",
) -> int:
    """Put a model on the Hugging Face hub, its cards with it.

    The model is loaded first, strictly: what could not be used is not shared. Log in once with
    `hf auth login`, or set HF_TOKEN; Nerula never sees the token.

    Parameters
    ----------
    model
        Folder of a model or of a finished run, or the name of a model that Nerula brings along.
    name
        USER/NAME on the hub; it is made if it is not there.
    public
        A new repository can be seen by everyone. Without it only by you.
    message
        What the commit says.
    """
    from rich.console import Console

    from nerula import bundle, cards, hub
    from nerula.schema import Config

    full = name if name.startswith(hub.PREFIX) else hub.PREFIX + name
    hub.Place.of(full)
    bundle.load(model)
    folder = bundle.found(model)
    card = cards.written(Config.read(folder), folder, full)
    page, exact = hub.upload(folder, full, card, public=public, message=message)
    lines = [
        f"Pushed: {page}",
        f"This very state, for ever: {exact}",
        f"Next: nerula embed {full} SOURCE embeddings.npy",
    ]
    Console().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    return 0
