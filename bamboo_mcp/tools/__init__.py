"""Executors and what wraps them: everything that gives tools nests in one shape.

May import: `domain`, `ports`, `contributions`. Read a stack from the outside in:
`Denylist(Permitted(Bounded(Overlay(run_tools, Composite([builtin, *plugin, *upstream])))))`.
"""
