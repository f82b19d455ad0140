"""The offered load now and a little ahead, robust against noise: a pure estimate from readings of its rate.

Samples are taken `window / 30` apart, at least as far as the fact's own span, so that they are independent.

- **Trend**: the median of the slopes between all pairs of samples (Theil 1950, Sen 1968, 'Estimates of the
  regression coefficient based on Kendall's tau'), which holds with up to 29 % of wild samples. It counts only where
  the Mann-Kendall test (Mann 1945, Kendall 1975) says |z| ≥ 4, which noise alone does once in 16,000 windows;
  else it is 0 and the level the samples' median. No trend is followed further ahead than it was seen to last.
- **Noise**: 1.4826 times the median absolute residual (Rousseeuw & Croux 1993), and never less than what counting
  Poisson arrivals over the fact's span gives: √(rate · size / span), where each arrival adds its size to the rate.
- **Jump**: a reading three times the noise off the line stands out. When two samples in a row do, to the same side,
  the load has moved, and what was before is forgotten. Long before, half a second after it began, what arrives is
  known with its bounds (`seen`): a reading grows by what comes in less what falls out of it, which was on the line.

Space: at most 31 samples. Time: O(samples²) once a sample, some 50 µs.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPAN = 2.0  # seconds that a reading of a rate covers
_SAMPLES = 30
_FEWEST = 8  # for a trend
_CERTAIN = 4.0  # standard deviations of Kendall's statistic; a straight rise of 30 samples has 7.8
_OUTSTANDING = 3.0  # times the noise
_SOON = 0.45  # seconds; less than two ticks of the daemon, so that their jitter does not make it three
_CHANCE = 2.0  # times the noise
_RISING = 1.0  # times the noise of a difference
_ROBUST = 1.4826  # of a normal distribution: its deviation over its median absolute deviation


@dataclass(frozen=True, slots=True)
class Line:
    """`level` at the time `at`, `slope` (per second) and `noise`, in the unit of the rate."""

    at: float
    level: float
    slope: float
    noise: float

    def value(self, now: float) -> float:
        """The line at a time, never below 0."""
        return max(self.level + self.slope * (now - self.at), 0.0)


def fit(times: NDArray[np.float64], rates: NDArray[np.float64], size: float = 1.0) -> Line:
    """The robust line through samples `[n]`, n ≥ 1, in order of time, of a rate that each arrival adds `size` to."""
    slope = _slope(times, rates)
    rest = rates - slope * (times - times[-1])
    level = float(np.median(rest))
    spread = _ROBUST * float(np.median(np.abs(rest - level)))
    return Line(float(times[-1]), level, slope, max(spread, _counting(level, size, SPAN)))


def _counting(rate: float, size: float, seconds: float) -> float:
    """Standard deviation of a rate that Poisson arrivals of `size` make, counted over some seconds."""
    return math.sqrt(max(rate, 0.0) * size / seconds)


def _slope(times: NDArray[np.float64], rates: NDArray[np.float64]) -> float:
    n = len(times)
    if n < _FEWEST:
        return 0.0
    first, second = np.triu_indices(n, 1)
    rises = rates[second] - rates[first]
    deviation = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    if abs(float(np.sign(rises).sum())) < _CERTAIN * deviation:
        return 0.0
    return float(np.median(rises / (times[second] - times[first])))


class Forecast:
    """Follows one rate. `now` is monotonic seconds."""

    def __init__(self, window: float) -> None:
        """`window` in seconds: how far back samples are looked at."""
        self._window = window
        self._spacing = max(window / _SAMPLES, SPAN)
        self._samples: deque[tuple[float, float]] = deque()
        self._outside = 0  # sign of the last sample that stood out
        self._jumped: float | None = None  # since when readings stand out above the line
        self._line: Line | None = None
        self._now = self.newest = math.nan
        self._size = 1.0
        self._readings: deque[tuple[float, float]] = deque()  # of the last `_SOON` seconds, and one before

    def observe(self, now: float, rate: float, size: float = 1.0) -> None:
        """Takes a reading; one without data is passed over, and a gap makes the history begin anew.

        `size` is what one arrival adds: 1 to a rate of requests, a request's rows to one of rows.
        """
        if math.isnan(rate):
            return
        self._now, self.newest, self._size = now, rate, size
        self._readings.append((now, rate))
        while len(self._readings) > 2 and self._readings[1][0] <= now - _SOON:
            self._readings.popleft()
        line = self._line
        if self._samples and now - self._samples[-1][0] > 3 * self._spacing:
            self._samples.clear()
            line = None
        side = self._side(line, now, rate)
        if side <= 0:
            self._jumped = None
        elif self._jumped is None:
            self._jumped = now
        if line is None or now - self._samples[-1][0] >= self._spacing:
            self._sample(now, rate, side)

    def _side(self, line: Line | None, now: float, rate: float) -> int:
        """1 or -1 where a reading stands out above or below, else 0."""
        off = 0.0 if line is None else rate - line.value(now)
        noise = 0.0 if line is None else max(line.noise, _counting(rate, self._size, SPAN))
        return (off > _OUTSTANDING * noise) - (off < -_OUTSTANDING * noise)

    def _sample(self, now: float, rate: float, side: int) -> None:
        self._samples.append((now, rate))
        if side and side == self._outside:
            while len(self._samples) > 2:
                self._samples.popleft()
            side = 0
        self._outside = side
        while now - self._samples[0][0] > self._window:
            self._samples.popleft()
        both = np.array(self._samples)
        self._line = fit(both[:, 0] - now, both[:, 1], self._size)
        self._line = Line(now, self._line.level, self._line.slope, self._line.noise)

    @property
    def known(self) -> bool:
        """Whether there was any reading."""
        return self._line is not None

    @property
    def slope(self) -> float:
        """The trend per second, 0 where none is certain."""
        return self._line.slope if self._line else 0.0

    @property
    def settled(self) -> bool:
        """Whether the load was followed for a whole window since it began or jumped."""
        return bool(self._samples) and self._now - self._samples[0][0] >= self._window - self._spacing

    def jumped_for(self) -> float | None:
        """Seconds for which readings have stood out above the line, None if they do not."""
        return None if self._jumped is None else self._now - self._jumped

    def arriving(self) -> float:
        """The rate of the last half second in a jump, less what chance may add; NaN where there is none.

        A reading is the mean of `SPAN` seconds. What it grows by in d seconds is what came in them less what fell out
        of it, which was on the line: so the rate in them is the line's and SPAN/d times the growth.
        """
        if not self._readings or self._jumped is None or self._line is None:
            return math.nan
        rate, seconds = self._arrived(self._readings[0], self._readings[-1])
        return rate - _OUTSTANDING * _counting(rate, self._size, seconds) if 0 < seconds <= SPAN else math.nan

    def seen(self) -> tuple[float, float]:
        """The least and the most that the rate of a jump is, but for chance: 0 and infinity until it is seen whole.

        It is seen whole once the last half second has nothing from before the jump, and until readings lose what came
        in it. Where the later half of that half second brought more than the earlier one, it still rises, and the most
        is infinite.
        """
        if self._jumped is None or self._line is None or len(self._readings) < 3:
            return 0.0, math.inf
        first, middle, last = (self._readings[place] for place in (0, len(self._readings) // 2, -1))
        # A jump began up to half a second before it stood out.
        if first[0] < self._jumped or last[0] - self._jumped > SPAN - _SOON:
            return 0.0, math.inf
        (earlier, before), (later, after) = self._arrived(first, middle), self._arrived(middle, last)
        rate, seconds = self._arrived(first, last)
        noise = self._arriving_noise(rate, seconds)
        rising = later - earlier > _RISING * self._arriving_noise(rate, 1 / (1 / before + 1 / after))
        return rate - _OUTSTANDING * noise, math.inf if rising else rate + _CHANCE * noise

    def _arriving_noise(self, rate: float, seconds: float) -> float:
        """Of a rate of so few seconds that is told by two readings: what fell out of them varies as what came does."""
        level = self._line.value(self._now) if self._line else 0.0
        seen = self._line.noise * math.sqrt(2 * SPAN / seconds) if self._line else 0.0
        return max(seen, _counting(max(rate, 0.0) + level, self._size, seconds))

    def _arrived(self, first: tuple[float, float], last: tuple[float, float]) -> tuple[float, float]:
        """The rate of what arrived between two readings of a jump, and the seconds between them."""
        seconds = last[0] - first[0]
        level = self._line.value(last[0]) if self._line else math.nan
        return (level + SPAN / seconds * (last[1] - first[1]) if seconds else math.nan), seconds

    def now(self) -> float:
        """The rate now: the line's, or a reading above it less the noise that it may hold; alone, less its noise."""
        if self._line is None:
            return math.nan
        if len(self._samples) == 1:  # the line is this one sample, and holds all of its noise
            return max(self.newest - _OUTSTANDING * self._reading_noise(), 0.0)
        return max(self._line.value(self._now), self.newest - _OUTSTANDING * self._reading_noise())

    def ahead(self, horizon: float) -> float:
        """The most that is expected within `horizon` seconds; a falling trend gives the rate now."""
        seen = self._now - self._samples[0][0] if self._samples else 0.0
        return self.now() + max(self.slope, 0.0) * min(horizon, seen)

    def _reading_noise(self) -> float:
        counting = _counting(self.newest, self._size, SPAN)
        return max(self._line.noise, counting) if self._line else counting
