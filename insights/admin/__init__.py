"""Admin pages of insights. Django imports this package, and each of its modules registers its pages."""

from insights.admin import catalogue, definitions, jobs, pauses, prompts, readings  # noqa: F401
