"""Control: what a stethoscope and a ruler would tell, from an R-peak detector of a few lines."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nerula.bounds import Count, Positive
from nerula.method import Control, Needs

NAMES = (
    *("beats per minute", "heart rate", "mean RR", "SDNN", "RMSSD", "pNN50", "shortest RR"),
    *("longest RR", "SDNN / mean RR", "RMSSD / mean RR", "irregular RR"),
    *("R", "S or Q", "spread of R", "QRS width", "spread of QRS width"),
    *("deviation", "slow deviation", "fast deviation", "fast deviation between beats"),
)
"""What the values of the embedding are: seconds, mV, shares."""
FAST, SLOW, ENERGY = 0.04, 0.2, 0.12
"""Seconds: what is smoothed away above and below the QRS complex, and its length."""
REFRACTORY, AROUND, LOCAL = 0.22, 0.08, 1.0
"""Seconds on either side: no second beat; a QRS complex; where a beat has to be expected."""
THRESHOLD, LEAST = 0.4, 0.02
"""A beat has this share of a usual beat's energy (its root), and at least so many mV."""
INTERVALS = (0.25, 2.5)
"""Shorter or longer RR intervals, in seconds, are mistakes of the detector."""
LARGEST = 100.0
"""mV; no electrode gives more."""


class Beats(NamedTuple):
    """The beats of a batch, K places for each signal."""

    sample: Tensor
    """(B, K) sample numbers in order."""
    exists: Tensor
    """(B, K) bool; False where a signal has fewer."""
    time: Tensor
    """(B, K) in seconds, between the samples."""


class HeartRate(Control):
    """Hand-made statistics: rate, RR intervals, height and width of the QRS complex, noise.

    The detector, after Pan and Tompkins 1985 ("A real-time QRS detection algorithm"): the
    difference of two smoothed signals, squared, summed over leads and smoothed again; beats are
    its highest places within the refractory time that reach a share of the usual height. SDNN,
    RMSSD and pNN50 are those of the Task Force (1996, "Heart rate variability"), over successive
    intervals RR without a gap in them::

        SDNN = sqrt(mean (RR_k - mean RR)^2)        RMSSD = sqrt(mean (RR_(k+1) - RR_k)^2)
        pNN50 = share of |RR_(k+1) - RR_k| > 50 ms
        irregular = share of |RR_k - median RR| > 0.15 median RR

    A statistic without data is 0. Ten seconds are short for
    variability; this is a control and not a clinical measurement.

    Arguments
    ---------
    rate: samples per second; `pretrain` takes it from the store.
    """

    def __init__(self, *, rate: Positive = 100.0, leads: Count = 1) -> None:
        super().__init__()
        self.needs, self.rate = Needs(leads=leads), rate

    def embed(self, x: Tensor, valid: Tensor) -> Tensor:
        """Compute the statistics in the order of `NAMES`: (B, 20)."""
        with torch.autocast(x.device.type, enabled=False):
            x = bridged(x.float().nan_to_num().clamp(-LARGEST, LARGEST), valid)
            fast = self._smooth(x, FAST)
            slow = self._smooth(fast, SLOW)
            qrs, there = fast - slow, valid.any(1)
            beats = self._beats(qrs, there)
            rhythm = self._rhythm(beats, there)
            shape = self._shape(beats, qrs, x, slow, there)
        return torch.stack([*rhythm, *shape], dim=1).nan_to_num()

    def beats(self, x: Tensor, valid: Tensor) -> Beats:
        """Find the R peaks of (B, L, T) in mV."""
        fast = self._smooth(bridged(x.float().nan_to_num().clamp(-LARGEST, LARGEST), valid), FAST)
        return self._beats(fast - self._smooth(fast, SLOW), valid.any(1))

    def _beats(self, qrs: Tensor, there: Tensor) -> Beats:
        height = self._smooth(qrs.square().sum(1, keepdim=True), ENERGY).sqrt().squeeze(1)
        local = self._highest(height, LOCAL).masked_fill(~there, torch.nan)
        usual = local.nanmedian(dim=1, keepdim=True).values.nan_to_num()
        highest = height == self._highest(height, REFRACTORY)
        peak = highest & there & (height > (THRESHOLD * usual).clamp(min=LEAST))
        time = height.shape[1]
        place = torch.arange(time, device=height.device)
        index = F.pad(torch.where(peak, place, time).sort(dim=1).values, (0, 3), value=time)
        index = index[:, : 3 + int(time / max(1, self._samples(REFRACTORY)))]
        exists = index < time
        index = index.clamp(max=time - 1)
        return Beats(index, exists, (index + _vertex(height, index)) / self.rate)

    def _rhythm(self, beats: Beats, there: Tensor) -> list[Tensor]:
        """The first eleven statistics."""
        missing = (~there).cumsum(1).gather(1, beats.sample)
        interval = beats.time.diff(dim=1)
        sound = beats.exists[:, 1:] & (missing.diff(dim=1) == 0)
        sound &= (interval > INTERVALS[0]) & (interval < INTERVALS[1])
        change, both = interval.diff(dim=1), sound[:, 1:] & sound[:, :-1]
        mean, deviation = _mean(interval, sound), _deviation(interval, sound)
        middle = interval.masked_fill(~sound, torch.nan).nanmedian(dim=1, keepdim=True).values
        irregular = (interval - middle).abs() > 0.15 * middle
        rmssd = _mean(change.square(), both).sqrt()
        seconds = there.sum(1).clamp(min=1) / self.rate
        shortest = interval.masked_fill(~sound, INTERVALS[1]).amin(1)
        return [
            60 * beats.exists.sum(1) / seconds,
            60 / middle.squeeze(1),
            mean,
            deviation,
            rmssd,
            _mean((change.abs() > 0.05).float(), both),
            shortest * sound.any(1),
            (interval * sound).amax(1),
            deviation / mean.clamp(min=INTERVALS[0]),
            rmssd / mean.clamp(min=INTERVALS[0]),
            _mean(irregular.float(), sound),
        ]

    def _shape(
        self, beats: Beats, qrs: Tensor, x: Tensor, slow: Tensor, there: Tensor
    ) -> list[Tensor]:
        """The other nine, averages over the leads where there are several."""
        up, down = self._highest(qrs, AROUND).mean(1), self._highest(-qrs, AROUND).mean(1)
        size = 2 * self._samples(AROUND) + 1
        area = F.avg_pool1d(qrs.abs(), size, 1, size // 2).mean(1) * size / self.rate
        peak = self._highest(qrs.abs(), AROUND).mean(1).clamp(min=LEAST)
        width = (area / peak).gather(1, beats.sample)
        r = up.gather(1, beats.sample)
        beat = torch.zeros_like(there).scatter(1, beats.sample, beats.exists)
        beating = self._highest(beat.float(), AROUND) > 0
        deviations = [_deviation(one.mean(1), there) for one in (x, slow, qrs)]
        return [
            _mean(r, beats.exists),
            _mean(down.gather(1, beats.sample), beats.exists),
            _deviation(r, beats.exists),
            _mean(width, beats.exists),
            _deviation(width, beats.exists),
            *deviations,
            _mean(qrs.square().mean(1), there & ~beating).sqrt(),
        ]

    def _samples(self, seconds: float) -> int:
        return round(seconds * self.rate)

    def _smooth(self, x: Tensor, seconds: float) -> Tensor:
        """A Hann window over each lead, its edges held."""
        reach = max(1, self._samples(seconds / 2))
        window = torch.hann_window(2 * reach + 3, periodic=False, device=x.device)[1:-1]
        held = F.pad(x, (reach, reach), "replicate").flatten(0, 1).unsqueeze(1)
        return F.conv1d(held, (window / window.sum()).view(1, 1, -1)).view(x.shape)

    def _highest(self, x: Tensor, seconds: float) -> Tensor:
        """The maximum within so many seconds on either side."""
        reach = self._samples(seconds)
        return F.max_pool1d(x, 2 * reach + 1, 1, reach)


def bridged(x: Tensor, valid: Tensor) -> Tensor:
    """Straight lines over what is not valid; held at the ends; 0 where nothing is."""
    time = x.shape[-1]
    place = torch.arange(time, device=x.device).expand(x.shape)
    before = torch.where(valid, place, -1).cummax(-1).values
    after = torch.where(valid, place, time).flip(-1).cummin(-1).values.flip(-1)
    left = torch.where(before < 0, after, before).clamp(max=time - 1)
    right = torch.where(after == time, before, after).clamp(min=0)
    share = (place - left) / (right - left).clamp(min=1)
    seen = torch.where(valid, x, 0.0)
    return torch.lerp(seen.gather(-1, left), seen.gather(-1, right), share)


def _vertex(height: Tensor, index: Tensor) -> Tensor:
    """Where the parabola through a peak and its neighbours is highest, in (-0.5, 0.5) samples."""
    last = height.shape[1] - 1
    before, after = (height.gather(1, (index + step).clamp(0, last)) for step in (-1, 1))
    bend = 2 * height.gather(1, index) - before - after
    return ((after - before) / (2 * bend.clamp(min=1e-9))).clamp(-0.5, 0.5)


def _mean(x: Tensor, where: Tensor) -> Tensor:
    """Mean over what is in `where`, 0 over nothing."""
    return torch.where(where, x, 0.0).sum(1) / where.sum(1).clamp(min=1)


def _deviation(x: Tensor, where: Tensor) -> Tensor:
    """Standard deviation over what is in `where`."""
    return _mean((x - _mean(x, where).unsqueeze(1)).square(), where).sqrt()
