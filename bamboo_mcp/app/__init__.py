"""Puts the agent together: the only package that names concrete classes.

`opening` is the one way in; `storage`, `toolbox` and `crew` build the parts. Everything below is
imported inside the function that needs it, so that whoever needs a part loads no more than that.
"""

from bamboo_mcp.app.opening import App, open_app

__all__ = ["App", "open_app"]
