"""Builtin file, search and shell tools, confined to a folder.

May import: `tools`, `contributions`, `ports`, `domain`. Never a sibling such as `agent`.
"""
