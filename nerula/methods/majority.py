"""Control: nothing at all."""

from torch import Tensor

from nerula.bounds import Count
from nerula.method import Control, Needs


class Majority(Control):
    """One constant for every recording.

    Whatever classifier is put on it can only give the most frequent class, or the mean: the figure
    below which nothing is worth looking at. In Challenge 2017 that is an accuracy near 0.6, which
    is easily taken for a result.

    Arguments
    ---------
    leads: that it does not look at.
    """

    def __init__(self, *, leads: Count = 1) -> None:
        super().__init__()
        self.needs = Needs(leads=leads)

    def embed(self, x: Tensor, valid: Tensor) -> Tensor:  # noqa: ARG002
        """Zero."""
        return x.new_zeros(len(x), 1)
