"""Hypothesis without a deadline: on a busy machine an example may be slow, and that is no failure of ours."""

from hypothesis import settings

settings.register_profile("calm", deadline=None)
settings.load_profile("calm")
