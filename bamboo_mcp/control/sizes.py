"""Texts that are refused for their size: empty, or more than one call should carry."""

from __future__ import annotations

from bamboo_mcp.domain.errors import InvalidInput


def check_text(field: str, text: str, most: int) -> None:
    if not text.strip():
        raise InvalidInput(f"{field} is empty", hint=f"Say in {field} what it should do.")
    check_length(field, text, most)


def check_length(field: str, text: str, most: int) -> None:
    if len(text) > most:
        raise InvalidInput(
            f"{field} has {len(text):,} characters; at most {most:,} are taken",
            hint="Put the material into a file of the workspace and name the file.",
        )
