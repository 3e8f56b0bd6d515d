"""The door through which everything comes in: hookspecs, sources, and the host that asks.

May import: `domain`, `ports`, `settings`, `contributions`, `tools`, and pluggy (nobody else does).
"""
