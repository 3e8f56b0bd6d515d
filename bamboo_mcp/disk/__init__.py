"""The home folder's files: append-only journals, atomic replacement, locks across processes.

May import: `domain`. Every open-for-write, write, sync, rename and truncate goes through `calls`.
"""
