"""What all tests share. Also puts the repository on the path, for `tests.support`."""

from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about the code: speed is the benchmarks' business.
settings.register_profile("payonce", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("payonce")
