"""Never pay twice for the same prefix: the planner of the provider's own prompt cache (docs/prompt-caching.md)."""

from payonce.optimise.advice import Act, Advice
from payonce.optimise.planner import Plan, Planner

__all__ = ["Act", "Advice", "Plan", "Planner"]
