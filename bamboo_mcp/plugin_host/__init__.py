"""The door through which everything comes in: hookspecs, contributions, and the host that asks for them.

May import: `domain`, `ports`, `settings`, and pluggy (nobody else does).
"""
