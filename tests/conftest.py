"""How Hypothesis runs: its judgements of speed are about the machine, which others may load as well."""

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
