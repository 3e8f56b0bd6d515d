"""langchain's `create_agent` doing the same rounds; imported only when langchain is installed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import anyio
from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

from bamboo_mcp.domain.messages import Message

RUNS = 3


@tool  # type: ignore[untyped-decorator, unused-ignore]
async def trivial(n: int) -> str:
    """Do nothing and say so."""
    return "ok"


class BenchChatModel(BaseChatModel):  # type: ignore[misc, unused-ignore]
    """Calls `trivial` `rounds` times, then says a word."""

    rounds: int
    asked: int = 0

    @property
    def _llm_type(self) -> str:
        return "bench"

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *rest: Any, **options: Any) -> ChatResult:
        self.asked += 1
        if self.asked > self.rounds:
            answer = AIMessage(content="done")
        else:
            call = {"name": "trivial", "args": {"n": self.asked}, "id": f"c{self.asked}"}
            answer = AIMessage(content="", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=answer)])

    async def _agenerate(
        self, messages: list[BaseMessage], *rest: Any, **options: Any
    ) -> ChatResult:
        return self._generate(messages)


def langchain_round(history: Sequence[Message], rounds: int) -> float:
    """Seconds a round takes, a run without rounds taken off."""
    return (_fastest(history, rounds) - _fastest(history, 0)) / rounds


def _fastest(history: Sequence[Message], rounds: int) -> float:
    return min(anyio.run(_run, history, rounds) for _ in range(RUNS))


async def _run(history: Sequence[Message], rounds: int) -> float:
    agent = create_agent(BenchChatModel(rounds=rounds), [trivial])
    kinds = {"user": HumanMessage, "assistant": AIMessage, "system": HumanMessage}
    messages = [kinds[message.role](content=message.text) for message in history]
    began = time.perf_counter()
    state = await agent.ainvoke({"messages": messages}, {"recursion_limit": 10 * rounds + 25})
    took = time.perf_counter() - began
    assert state["messages"][-1].content == "done"
    return took
