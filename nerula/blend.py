"""Blend: what a tuned network says, and what a plain model says of the frozen embedding, as one.

The network knows better what is frequent, the embedding what is rare: labels that hardly occur
are too few to be learned anew, and what was learned without them is not forgotten.
"""

import numpy as np

from nerula.forms import shares, sigmoid
from nerula.metrics import Answers

BLENDED = "blended"
"""What such results are called, in place of a probe."""
PLAIN = {"classes": "logistic", "labels": "logistic", "values": "ridge"}
"""What is fitted to the embedding, by kind of task."""
LEAST = 1e-7
"""A probability counts as no smaller, and its complement neither."""


def blended(kind: str, one: Answers, other: Answers) -> Answers:
    """Average two answers about the same rows: values, or the logarithms of probabilities (of
    labels that of their odds)."""
    if kind == "values":
        score = (one.score + other.score) / 2
        return Answers(one.truth, score, score[:, 0])
    sure = np.clip([one.score, other.score], LEAST, 1 - LEAST)
    if kind == "labels":
        score = sigmoid((np.log(sure) - np.log1p(-sure)).mean(0))
        return Answers(one.truth, score, np.zeros(len(score), np.int64))
    score = shares(np.log(sure).mean(0))
    return Answers(one.truth, score, score.argmax(1))
