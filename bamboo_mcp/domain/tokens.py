"""How large a conversation is in tokens: reported where a model has answered, else estimated.

Last usage is exact for all it covers. What came after, and everything before a first answer, is
counted by a `Ruler` and multiplied by what a model's reports say the ruler is off (`Sizing`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from bamboo_mcp.domain.messages import (
    Block,
    ImageBlock,
    Message,
    OpaqueBlock,
    RawBlock,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
)
from bamboo_mcp.domain.text_tokens import estimate_text
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.domain.usage import Usage

IMAGE_TOKENS = 1_600
MESSAGE_TOKENS = 4
"""Of a message beside its blocks: its role, where it begins and where it ends."""
CALL_TOKENS = 8
"""Of a tool call, of its answer, and of a tool's definition beside their texts."""
RAW_TOKENS = 30
"""Of an MCP block without a text of its own; models read a line about it."""
SEALED_CHARS_PER_TOKEN = 5
"""Of what a provider has encrypted or signed: the tokens inside are seen by nobody but it."""

LOWEST_FACTOR, HIGHEST_FACTOR = 0.4, 3.0
IMPLAUSIBLE = 2.0
"""So many times beyond those bounds a report is no matter of tokenizers: it leaves cached tokens
out, or has a prompt in it that is not ours."""
FIRST_GUESS_TOKENS = 1_000
"""What is known of a vendor beforehand weighs as much as a report about so many tokens."""
MEMORY_TOKENS = 20_000
"""What was learned never weighs more than a report about so many: the latest always count."""

SLICE_CHARS = 2_000
SLICES = 32
"""Of a text too long to count whole so many pieces are counted, from its head to its tail."""
ESTIMATED_WHOLE_CHARS = 100_000

_TOOLS_KEPT, _SYSTEMS_KEPT = 2_048, 128
_encoder = msgspec.json.Encoder(enc_hook=repr)


class Ruler:
    """Counts tokens the way `count` counts those of a text. One is shared by all its models.

    A text longer than `whole_up_to` characters is counted in a sample, always the same one.
    """

    __slots__ = ("_count", "_systems", "_tools", "_whole_up_to")

    def __init__(
        self,
        count: Callable[[str], int] = estimate_text,
        *,
        whole_up_to: int = ESTIMATED_WHOLE_CHARS,
    ) -> None:
        self._count = count
        self._whole_up_to = max(whole_up_to, SLICES * SLICE_CHARS)
        self._tools: dict[int, tuple[ToolSpec, int]] = {}
        self._systems: dict[str, int] = {}

    def text(self, text: str) -> int:
        """Never 0 but for an empty text."""
        if len(text) <= self._whole_up_to:
            return self._count(text)
        step = (len(text) - SLICE_CHARS) / (SLICES - 1)
        begins = [int(n * step) for n in range(SLICES)]
        # One by one: joined, a long text would be one that is too long again.
        counted = sum(self._count(text[begin : begin + SLICE_CHARS]) for begin in begins)
        return counted * len(text) // (SLICES * SLICE_CHARS)

    def messages(self, messages: Iterable[Message]) -> tuple[int, int]:
        """Tokens of their texts, and a guess at what is not text."""
        texts: list[str] = []
        around = sealed = 0
        for message in messages:
            more = _gather(message.blocks, texts)
            around += MESSAGE_TOKENS + more[0]
            sealed += more[1]
        # As one text: a long history is a long text, and costs no more than one.
        return around + self.text(texts[0] if len(texts) == 1 else " ".join(texts)), sealed

    def system(self, prompt: str) -> int:
        """Counted once: runs side by side mostly have the same one."""
        known = self._systems.get(prompt)
        if known is None:
            if len(self._systems) >= _SYSTEMS_KEPT:
                self._systems.clear()
            known = self._systems[prompt] = self.text(prompt)
        return known

    def tools(self, specs: Iterable[ToolSpec]) -> int:
        """Each is counted once and then known by identity: agents of a server share them."""
        total = 0
        for spec in specs:
            known = self._tools.get(id(spec))
            if known is None:
                if len(self._tools) >= _TOOLS_KEPT:
                    self._tools.clear()
                # Kept with its count: as long as it is here, its id is nobody else's.
                known = self._tools[id(spec)] = (spec, self._tool(spec))
            total += known[1]
        return total

    def _tool(self, spec: ToolSpec) -> int:
        schema = _encoder.encode(spec.input_schema).decode()
        return CALL_TOKENS + self.text(f"{spec.name} {spec.description} {schema}")


def _gather(blocks: Sequence[Block], texts: list[str]) -> tuple[int, int]:
    """Add the texts in `blocks`; tokens around them, and a guess at what is not text."""
    around = sealed = 0
    for block in blocks:
        match block:
            case TextBlock(text=text):
                texts.append(text)
            case ToolResultBlock(content=content):
                more = _gather(content, texts)
                around += CALL_TOKENS + more[0]
                sealed += more[1]
            case ToolCallBlock():
                texts.append(block.name)
                texts.append(block.arguments_json)
                around += CALL_TOKENS
            case ReasoningBlock(text=text) if text:
                texts.append(text)
            case RawBlock(raw=raw):
                texts.append(_readable(raw))
                around += RAW_TOKENS
            case _:
                sealed += _sealed(block)
    return around, sealed


def _readable(raw: Mapping[str, Any]) -> str:
    """The text of an embedded resource, which is what a model gets to read of such a block."""
    resource = raw.get("resource")
    text = resource.get("text") if isinstance(resource, Mapping) else None
    return text if isinstance(text, str) else ""


def _sealed(block: Block) -> int:
    match block:
        case ImageBlock():
            return IMAGE_TOKENS
        case ReasoningBlock(ext=raw) | OpaqueBlock(raw=raw) if raw:
            return len(repr(raw)) // SEALED_CHARS_PER_TOKEN + 1
        case _:
            return 0


class Sizing:
    """What one model makes of our counts: `factor` times as many, learned from its reports.

    One is shared by all runs of a process on that model.
    """

    __slots__ = ("_weight", "factor", "ruler")

    def __init__(self, ruler: Ruler | None = None, *, factor: float = 1.0) -> None:
        self.ruler = ruler or Ruler()
        self.factor = min(max(factor, LOWEST_FACTOR), HIGHEST_FACTOR)
        self._weight = FIRST_GUESS_TOKENS

    def text(self, text: str) -> int:
        return self._times_factor(self.ruler.text(text))

    def messages(self, messages: Iterable[Message]) -> int:
        counted, sealed = self.ruler.messages(messages)
        return self._times_factor(counted) + sealed

    def tools(self, specs: Iterable[ToolSpec]) -> int:
        return self._times_factor(self.ruler.tools(specs))

    def _times_factor(self, counted: int) -> int:
        return round(counted * self.factor) or bool(counted)

    def observe(self, estimated: int, reported: int) -> None:
        """Learn that what the ruler counts as `estimated` is `reported` tokens to the model.

        The more tokens a report is about, the more it weighs.
        """
        if estimated <= 0:
            return
        ratio = reported / estimated
        if not LOWEST_FACTOR / IMPLAUSIBLE <= ratio <= HIGHEST_FACTOR * IMPLAUSIBLE:
            return
        seen = min(estimated, MEMORY_TOKENS)
        learned = self.factor + (ratio - self.factor) * seen / (seen + self._weight)
        self.factor = min(max(learned, LOWEST_FACTOR), HIGHEST_FACTOR)
        self._weight = min(self._weight + seen, MEMORY_TOKENS)


class RunningSize:
    """The size of the next prompt as a running total, so that no round counts history again."""

    __slots__ = ("_counted", "_reported", "_sealed", "_sizing", "_teaches")

    def __init__(
        self,
        sizing: Sizing,
        messages: Iterable[Message] = (),
        *,
        system: str = "",
        tools: Iterable[ToolSpec] = (),
    ) -> None:
        self._sizing = sizing
        self._reported = 0
        self._counted, self._sealed = sizing.ruler.messages(messages)
        self._counted += sizing.ruler.system(system) + sizing.ruler.tools(tools)
        self._teaches = True

    @property
    def tokens(self) -> int:
        """Reported up to the last answer, with that answer; estimated from there on."""
        return self._reported + self._sealed + round(self._counted * self._sizing.factor)

    def add(self, message: Message) -> None:
        counted, sealed = self._sizing.ruler.messages((message,))
        self._counted += counted
        self._sealed += sealed

    def answered(self, message: Message, usage: Usage, *, whole: bool = True) -> None:
        """Add a model's answer: what it reported takes the place of all estimates up to it.

        Without a report the answer is estimated like the rest. `whole`: the model was sent exactly
        what was added here, so its report tells how good the estimates were.
        """
        if not usage.input:
            self.add(message)
            self._teaches = False
            return
        # What is not text is only guessed at: a factor for texts cannot be learned from it.
        if whole and self._teaches and not self._sealed:
            self._sizing.observe(self._counted, usage.input - self._reported)
        self._reported = usage.input + usage.output
        self._counted = self._sealed = 0
        # Thoughts may be left out of the next prompt, which then is shorter than we think.
        self._teaches = not usage.reasoning

    def change(self, sizing: Sizing) -> None:
        """Another model is in charge: the next report is its own, and compares with nothing here.

        What was counted with the other model's ruler stays so until then.
        """
        self._sizing = sizing
        self._teaches = False
