"""A model that plays a transcript: for tests, demonstrations and documents that must not vary."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.errors import SettingsError, UnknownModel
from bamboo_mcp.domain.models import ModelCaps, ModelEntry, ModelRequest
from bamboo_mcp.domain.stream import Chunk
from bamboo_mcp.ports import Notify
from bamboo_mcp.providers.scripted.engine import CompiledTrack, Engine
from bamboo_mcp.providers.scripted.file import read_script
from bamboo_mcp.providers.scripted.steps import Script
from bamboo_mcp.providers.shipped import SCRIPTS


def make(config: ProviderConfig) -> ScriptFiles:
    """`options.folder` names a folder of scripts beside those that ship."""
    folder = config.options.get("folder", "")
    if not isinstance(folder, str) or (unknown := set(config.options) - {"folder"}):
        wrong = "folder" if not isinstance(folder, str) else ", ".join(sorted(unknown))
        raise SettingsError(
            f"providers.{config.name}.options: {wrong!r} is not right; "
            "the one option is folder, a path"
        )
    folders = [Path(folder).expanduser()] if folder else []
    return ScriptFiles(config.name, [*folders, SCRIPTS])


class ScriptFiles:
    """A provider whose models are YAML files: a path, or the name of one in `folders`."""

    def __init__(self, name: str, folders: Sequence[Path]) -> None:
        self._name = name
        self._folders = folders
        self._scripts: dict[str, tuple[Script, Engine]] = {}

    @property
    def name(self) -> str:
        return self._name

    def caps(self, model: str) -> ModelCaps:
        """Raises `UnknownModel` when there is no such script, `InvalidInput` when it is broken."""
        return ModelCaps(context_window=self._script(model)[0].context_window)

    def stream(
        self, request: ModelRequest, *, notify: Notify | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        return self._script(request.model)[1].play(request)

    async def count(self, request: ModelRequest) -> int | None:
        return None

    async def models(self) -> Sequence[ModelEntry]:
        return [
            ModelEntry(name=name, provider=self._name, ready=True) for name in sorted(self._known())
        ]

    def unused(self, model: str) -> list[str]:
        """Which steps of a script nobody came to."""
        return self._script(model)[1].unused()

    def _script(self, model: str) -> tuple[Script, Engine]:
        found = self._scripts.get(model)
        if found is None:
            script = read_script(self._file(model))
            tracks = [CompiledTrack(track) for track in script.tracks]
            engine = Engine(tracks, origin=f"{self._name}:{model}", strict=script.strict)
            found = self._scripts[model] = (script, engine)
        return found

    def _file(self, model: str) -> Path:
        if (shelved := self._known().get(model)) is not None:
            return shelved
        path = Path(model).expanduser()
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return path
        known = ", ".join(sorted(self._known())) or "none"
        raise UnknownModel(
            f"{self._name!r} has no script {model!r}",
            hint=f"Give the path of a .yaml file, or one of: {known}.",
        )

    def _known(self) -> Mapping[str, Path]:
        found: dict[str, Path] = {}
        for folder in self._folders:
            for path in sorted(folder.glob("*.y*ml")):
                found.setdefault(path.stem, path)
        return found
