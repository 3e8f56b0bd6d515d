"""What the settings say of models, as the catalog gets it."""

from __future__ import annotations

from pathlib import Path

from bamboo_mcp.app.opening import fallbacks_of
from bamboo_mcp.settings import load_settings

FILE = '[models]\nprimary = "a:x"\nprimary_fallbacks = ["b:y"]\n'


def test_a_model_named_on_the_command_line_has_only_the_fallbacks_named_there(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.toml").write_text(FILE, encoding="utf-8")

    def chosen(**flags: object) -> list[str]:
        said = {f"models.{key}": value for key, value in flags.items()}
        settings = load_settings(config=tmp_path / "config.toml", environ={}, flags=said)
        return list(fallbacks_of(settings, "primary"))

    assert chosen() == ["b:y"]
    assert chosen(primary="ollama:private") == []
    assert chosen(primary="a:z", primary_fallbacks="c:z") == ["c:z"]
    assert chosen(fast="d:z") == ["b:y"]
