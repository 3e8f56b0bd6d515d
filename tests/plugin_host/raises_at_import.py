"""A plugin module whose import fails."""

raise RuntimeError("no licence file")
