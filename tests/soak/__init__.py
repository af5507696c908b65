"""The soak test: `python -m tests.soak`. docs/jobs.md describes it."""
