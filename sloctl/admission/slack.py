"""How far predictions fall short: the 99th percentile of what requests took beyond their prediction. Pure."""

QUANTILE = 0.99


class Slack:
    """Follows the quantile by stochastic approximation (Robbins and Monro, 1951): constant memory, nothing to sort.

    A class has its own, since one that others overtake waits longer than it was told. After each batch the value moves
    by `step · (share of requests beyond it − 0.01)`, so it rests where one request in a hundred is beyond.
    """

    __slots__ = ("values",)

    def __init__(self, classes: int, initial: float = 0.0) -> None:
        self.values = [initial] * classes  # seconds

    def observe(self, index: int, beyond: int, requests: int, step: float, most: float) -> None:
        """Of `requests` of a class, `beyond` took longer than predicted by more than the present value.

        `step` is in seconds: the time of a batch, in which mistakes come; the value stays within 0 and `most`.
        """
        value = self.values[index] + step * (beyond / requests - (1.0 - QUANTILE))
        self.values[index] = min(max(value, 0.0), most)
