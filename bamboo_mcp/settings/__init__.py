"""What the user may set: a TOML file, `BAMBOO_*` variables and flags, checked once.

`sections` says which settings there are, `sources` reads the three places, `loading` puts them
together, `complaints` words what is wrong, `document` writes settings back as TOML.

May import: `domain`.
"""

from bamboo_mcp.settings.loading import config_file, load_settings
from bamboo_mcp.settings.references import resolve_reference
from bamboo_mcp.settings.sections import ProviderSettings, Settings

__all__ = ["ProviderSettings", "Settings", "config_file", "load_settings", "resolve_reference"]
