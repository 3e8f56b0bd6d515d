"""Agents that work for agents: spawned, steered, awaited, cancelled, and never lost.

May import: `domain`, `ports` and what is below; no library. Start reading at `manager`.
"""
