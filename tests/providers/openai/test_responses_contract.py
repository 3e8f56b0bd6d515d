from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from bamboo_mcp.domain.messages import user_message
from bamboo_mcp.testing.contracts.provider import Case, ProviderContract
from bamboo_mcp.testing.fake_llm.server import FakeCall, FakeReply
from tests.providers.openai.responses_at import a_request, openai_and_fake


class TestResponses(ProviderContract):
    @asynccontextmanager
    async def case(self) -> AsyncGenerator[Case]:
        async with openai_and_fake() as (provider, server):

            def answer(body: Mapping[str, Any]) -> FakeReply:
                text = str(body["input"])
                if "please call" in text:
                    calls = (
                        FakeCall(id="call_1", name="look", args={"path": "a b"}),
                        FakeCall(id="call_2", name="draw", raw_json=""),
                    )
                    return FakeReply(thinking="hm\n\nhm", text="Looking.", calls=calls)
                if "please break" in text:
                    return FakeReply(text="half an answer", fault="error_event", after=5)
                return FakeReply(text="Good morning to you.")

            server.reply(answer)
            yield Case(
                provider=provider,
                says=a_request([user_message("hello")]),
                calls=a_request([user_message("please call")]),
                fails=a_request([user_message("please break")]),
            )
