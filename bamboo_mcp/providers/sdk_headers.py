"""Headers that the environment adds to a vendor's SDK, kept from servers they are not meant for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

_KEYS = ("authorization", "x-api-key")


def keep_back(client: Any, variable: str, said: Mapping[str, str], *, own_service: bool) -> None:
    """Take from the SDK's `client` what `variable` (NAME_CUSTOM_HEADERS) made it add.

    The SDK sends those headers wherever its client goes: to another vendor, a proxy, a server on
    this machine. They are for the vendor's own service (`own_service`) alone, and there too nothing
    takes the place of the instance's own key. `said` are the headers of the settings: they stay.
    """
    added = {
        line.partition(":")[0].strip() for line in os.environ.get(variable, "").split("\n")
    } - set(said)
    # The SDKs have no public way to leave one out without leaving out their own of that name.
    client._custom_headers = {
        name: value
        for name, value in client._custom_headers.items()
        if name not in added or (own_service and name.lower() not in _KEYS)
    }
