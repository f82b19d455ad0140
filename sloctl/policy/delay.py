"""How many answers a variant gives too late at a load: a small queueing model. Pure.

Arrivals are Poisson, and inference takes nearly the same time every time (Gujarati et al., 'Serving DNNs like
Clockwork', OSDI 2020), so the squared coefficients of variation are 1 and 0 in Kingman's heavy-traffic law ('The single
server queue in heavy traffic', 1961): the wait for capacity μ at utilisation ρ has the tail

    P(wait > t) = ρ · exp(−2 · (1 − ρ) · μ · t)

On top come a request's own batch and, with probability ρ, the rest of the one before it.
"""

import math


def late_share(load: float, capacity: float, batch_time: float, objective: float) -> float:
    """Share of answers, 0..1, that take longer than `objective` seconds once the queue has settled.

    `load` and `capacity` in rows a second, `batch_time` of a full batch in seconds. 1 where the load is not carried.
    """
    busy = load / capacity if capacity > 0 else math.inf
    slack = objective - batch_time * (1 + min(busy, 1.0))
    if busy >= 1 or slack < 0:
        return 1.0
    return busy * math.exp(-2 * (1 - busy) * capacity * slack)
