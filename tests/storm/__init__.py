"""A storm of cancellations against whatever reads a shared store: ours, and redis-py as it was when it leaked.

`weather.py` is the storm, and `naive.py` a plain client of redis-py; both need no more than Python and redis-py, as
they also run in environments that hold an old one. `ours.py` is Payonce's own way; `run.py` brings both together with
real servers, a delaying proxy and one that lies.
"""
