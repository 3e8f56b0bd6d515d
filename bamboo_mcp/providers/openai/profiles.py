"""What compatible servers do differently: a profile each, named in the options or guessed.

Sources: the providers note, section 2.4, and the servers' own documentation. Where neither says
anything the careful way is taken: a field that not everybody knows is left out. No profile sends
`strict` (schemas of tools come from anywhere and mostly do not fit its rules) or the role
`developer` (only the vendor's own service has it).
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.models import Effort
from bamboo_mcp.domain.value import Value
from bamboo_mcp.providers.options import Options
from bamboo_mcp.providers.table import EFFORTS

Details = Literal["", "props", "show", "v0"]

_THINK = ("<think>", "</think>")


class Profile(Value, frozen=True, kw_only=True):
    """The defaults are those of `compatible`: a server that nothing is known of."""

    name: str
    ports: tuple[int, ...] = ()
    hosts: tuple[str, ...] = ()
    """Host names it serves under, their subdomains included."""
    path: str = "/v1"
    """Added to a base_url that has no path of its own."""
    limit_field: str = "max_tokens"
    """The field that limits the answer; a server that refuses it and names the other one gets that.
    Nothing is sent when the request has no limit: a guess would be too much for a small window."""
    usage: bool = True
    """Whether `stream_options.include_usage` is sent: without it most report no tokens at all. A
    server that refuses the field is asked without it."""
    efforts: tuple[Effort, ...] = EFFORTS
    """The levels `reasoning_effort` takes here, for models known to think."""
    efforts_for_all: bool = False
    """Whether a model that nobody described is sent an effort too. Careful: no, since local servers
    refuse it for a model that does not think."""
    parallel: bool = False
    """Whether `parallel_tool_calls` is sent, as true: only llama.cpp is off without it."""
    tool_choice: bool = True
    """Whether `tool_choice: none` is heeded. Where it is not, the tools themselves are left out."""
    images: bool = True
    """Whether images are taken at all; a model can still lack the eyes."""
    image_urls: bool = False
    """Whether the server fetches an image by its address. Careful: only where that is documented;
    images with data go out as data URLs anyway."""
    reasoning_back: str = ""
    """The field in which a message that calls tools carries its reasoning back, "" for never. Read
    are `reasoning_content` and `reasoning` everywhere."""
    think_tags: tuple[str, str] | None = _THINK
    """What encloses reasoning at the very beginning of the text, where no field holds it: most
    local servers, unless they were started with a parser for the model."""
    foreign_signature: str = ""
    """Goes out as the thought signature of calls that another model made, "" for none."""
    details: Details = ""
    """Where more is said of models than in their list: llama.cpp's `/props`, Ollama's `/api/show`,
    LM Studio's `/api/v0/models`."""


_LOW_TO_HIGH: tuple[Effort, ...] = ("none", "low", "medium", "high")

COMPATIBLE = Profile(name="compatible")

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name="ollama",
            ports=(11434,),
            efforts=_LOW_TO_HIGH,
            # `tool_choice` is not among the fields it documents.
            tool_choice=False,
            details="show",
        ),
        Profile(name="llama.cpp", ports=(8080,), parallel=True, details="props"),
        Profile(name="lmstudio", ports=(1234,), details="v0"),
        Profile(name="vllm", ports=(8000,), image_urls=True),
        Profile(
            name="gemini",
            hosts=("generativelanguage.googleapis.com",),
            path="/v1beta/openai",
            efforts=("none", "minimal", "low", "medium", "high"),
            efforts_for_all=True,
            think_tags=("<thought>", "</thought>"),
            # The documented value for calls that come from elsewhere: Gemini 3 refuses a call of
            # the current turn without a signature.
            foreign_signature="skip_thought_signature_validator",
        ),
        Profile(
            name="deepseek",
            hosts=("api.deepseek.com",),
            path="",
            efforts=("low", "high", "max"),
            images=False,
            # A call whose reasoning does not come back is refused in all later requests, also
            # when there was none: then the field is empty.
            reasoning_back="reasoning_content",
            think_tags=None,
        ),
        Profile(
            name="openrouter",
            hosts=("openrouter.ai",),
            path="/api/v1",
            efforts_for_all=True,
            image_urls=True,
        ),
        COMPATIBLE,
    )
}


def profile_of(config: ProviderConfig, options: Options) -> Profile:
    """The profile `options.profile` names, else the one the address looks like.

    Raises `SettingsError` for a name that there is not.
    """
    if config.options.get("profile"):
        return PROFILES[options.choice("profile", tuple(PROFILES), "")]
    return guess(config.base_url)


def guess(base_url: str) -> Profile:
    """By host name or port; a port is only a habit, and yet what people have there by far most."""
    host, port = _place(base_url)
    for profile in PROFILES.values():
        if any(host == name or host.endswith(f".{name}") for name in profile.hosts):
            return profile
    return next((p for p in PROFILES.values() if port in p.ports), COMPATIBLE)


def complete(base_url: str, profile: Profile) -> str:
    """The address with the path that people leave out."""
    parts = urlsplit(base_url)
    if parts.path.strip("/"):
        return base_url
    return urlunsplit(parts._replace(path=profile.path))


def root_of(base_url: str) -> str:
    """The server's own root, which the endpoints beside the compatible ones are under."""
    return base_url.rstrip("/").removesuffix("/v1")


def _place(base_url: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(base_url)
        return (parts.hostname or "").lower(), parts.port
    except ValueError:
        return "", None
