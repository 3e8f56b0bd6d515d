"""Many messages, few words: what happens when a conversation outgrows its model's window.

May import: `domain`, `ports`.
"""
