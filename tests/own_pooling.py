"""A method of one's own with other words for an option that ours have too."""

from typing import Annotated

from nerula.bounds import one_of
from tests.tiny import Tiny


class Own(Tiny):
    """Tiny with a pooling that means something else.

    Arguments
    ---------
    pooling: first or last.
    """

    def __init__(self, *, pooling: Annotated[str, one_of(("first", "last"))] = "first") -> None:
        super().__init__()
        self.pooling = pooling
