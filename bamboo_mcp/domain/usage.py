"""Token usage as every provider reports it, normalised.

`input` is the whole prompt, cached parts included.
"""

from __future__ import annotations

from bamboo_mcp.domain.value import Value


class Usage(Value, frozen=True, kw_only=True, gc=False):
    """Tokens of one model call, or the sum of several. Providers note, section 3."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        return self.input + self.output

    def __add__(self, other: Usage) -> Usage:
        if self is NO_USAGE:  # most sums are of one
            return other
        return Usage(
            input=self.input + other.input,
            output=self.output + other.output,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
            reasoning=self.reasoning + other.reasoning,
        )


NO_USAGE = Usage()
