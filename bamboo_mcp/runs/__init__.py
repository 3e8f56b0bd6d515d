"""What happened in runs, kept and told on: the event log, the board of states, the lifecycle.

May import: `domain`, `ports`, `disk`.
"""
