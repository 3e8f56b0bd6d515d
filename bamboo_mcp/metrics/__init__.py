"""What runs used and cost, counted beside them: a SQLite file of figures, and OpenTelemetry spans.

May import: `domain`, `ports`, `settings`, `disk`, `contributions`. Both listen to the events of
runs like anybody's plugin, and a run never waits for either.
"""
