"""Conversations between runs: the journal store, its index and search, and a store in memory.

May import: `domain`, `ports`, `disk`, and tinydb (nobody else does). sqlite3 is imported late.
"""
