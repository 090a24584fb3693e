"""Payonce beside its peers: requests per CPU-second of the server, in interleaved rounds on one machine.

Run it with `python -m benchmarks` from the root of the repository. docs/benchmarks.md says what each ratio means.
"""
