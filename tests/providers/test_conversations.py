"""What every provider has in common in how a history goes out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import anyio
import msgspec
import pytest

from bamboo_mcp.contributions import ProviderConfig
from bamboo_mcp.domain.messages import (
    Block,
    ImageBlock,
    Message,
    OpaqueBlock,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.secrets import Secret
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.domain.value import Value
from bamboo_mcp.providers.anthropic.payload import Encoder as AnthropicEncoder
from bamboo_mcp.providers.anthropic.provider import make as make_anthropic
from bamboo_mcp.providers.conversations import (
    Conversations,
    EncodedTools,
    Encoder,
    Wire,
    wire_id,
)
from bamboo_mcp.providers.openai.chat import make as make_chat
from bamboo_mcp.providers.openai.chat_payload import Encoder as ChatEncoder
from bamboo_mcp.providers.openai.profiles import COMPATIBLE
from bamboo_mcp.providers.openai.responses import make as make_responses
from bamboo_mcp.providers.openai.responses_payload import Encoder as ResponsesEncoder
from bamboo_mcp.testing.fake_llm.anthropic import AnthropicDialect
from bamboo_mcp.testing.fake_llm.chat import ChatDialect
from bamboo_mcp.testing.fake_llm.responses import ResponsesDialect
from bamboo_mcp.testing.fake_llm.server import FakeReply, fake_llm

MODEL = "the-model"
GAVE_UP = "no result: the run was interrupted"


class Service(Value, frozen=True, kw_only=True):
    name: str
    make: Callable[[ProviderConfig], Any]
    encoder: Callable[[str], Encoder]
    path: str = "/v1"


SERVICES = (
    Service(
        name="anthropic",
        make=make_anthropic,
        encoder=partial(AnthropicEncoder, "anthropic"),
        path="",
    ),
    Service(name="openai", make=make_responses, encoder=partial(ResponsesEncoder, "openai")),
    Service(
        name="openai-chat",
        make=make_chat,
        encoder=partial(ChatEncoder, "openai-chat", COMPATIBLE, sees=True),
    ),
)
EACH = pytest.mark.parametrize("service", SERVICES, ids=lambda one: one.name)


def _called(*ids: str) -> Message:
    calls = tuple(ToolCallBlock(id=one, name=f"tool_{one[:1]}") for one in ids)
    return Message(role="assistant", blocks=calls)


def _result(call_id: str, text: str) -> ToolResultBlock:
    return ToolResultBlock(call_id=call_id, name="look", content=(TextBlock(text=text),))


def _user(*blocks: Block) -> Message:
    return Message(role="user", blocks=blocks)


def _sent(body: dict[str, Any]) -> str:
    return msgspec.json.encode(body.get("input") or body["messages"]).decode()


async def _bodies(service: Service, histories: Sequence[list[Message]]) -> list[dict[str, Any]]:
    """What went out for each of them, all as one conversation; the fake refuses an open call."""
    async with fake_llm(AnthropicDialect(), ResponsesDialect(), ChatDialect()) as server:
        config = ProviderConfig(
            name=service.name,
            type=service.name,
            base_url=f"{server.base_url}{service.path}",
            api_key=Secret("a-key-of-tests"),
        )
        async with aclosing(service.make(config)) as provider:
            for history in histories:
                server.reply(FakeReply(text="ok"))
                request = ModelRequest(model=MODEL, messages=history, conversation="c1")
                with anyio.fail_after(5):
                    async with provider.stream(request) as chunks:
                        async for _ in chunks:
                            pass
        return [seen.body for seen in server.requests]


UNANSWERED: tuple[tuple[str, list[Message], int], ...] = (
    ("a message instead", [user_message("go"), _called("a", "b"), user_message("go on")], 2),
    ("the end", [user_message("go"), _called("a", "b")], 2),
    (
        "half of them",
        [user_message("go"), _called("a", "b"), _user(_result("a", "SO")), user_message("go on")],
        1,
    ),
    (
        "half of them, with words",
        [user_message("go"), _called("a", "b"), _user(_result("b", "SO"), TextBlock(text="hm"))],
        1,
    ),
    (
        "the next answer",
        [user_message("go"), _called("a"), _called("b"), _user(_result("b", "SO"))],
        1,
    ),
    (
        "what the system says",
        [
            user_message("go"),
            _called("a"),
            Message(role="system", blocks=(TextBlock(text="be quick"),)),
            user_message("go on"),
        ],
        1,
    ),
    (
        "an old one that never was",
        [
            user_message("go"),
            _called("a"),
            user_message("again"),
            _called("b"),
            _user(_result("b", "SO")),
            user_message("go on"),
        ],
        1,
    ),
)


@EACH
@pytest.mark.parametrize(
    ("history", "given_up"),
    [case[1:] for case in UNANSWERED],
    ids=[case[0] for case in UNANSWERED],
)
async def test_a_call_of_a_killed_process_is_answered_where_its_result_belongs(
    service: Service, history: list[Message], given_up: int
) -> None:
    (body,) = await _bodies(service, [history])
    assert _sent(body).count(GAVE_UP) == given_up


@EACH
async def test_a_late_result_is_said_in_words_for_its_call_has_one(service: Service) -> None:
    picture = ImageBlock(media_type="image/png", data_b64="aGk=")
    late = ToolResultBlock(call_id="a", name="look", content=(TextBlock(text="LATE"), picture))
    history = [user_message("go"), _called("a"), user_message("well?"), _user(late)]
    (body,) = await _bodies(service, [history])
    sent = _sent(body)
    assert sent.count(GAVE_UP) == sent.count("LATE") == sent.count("aGk=") == 1
    assert sent.index(GAVE_UP) < sent.index("well?") < sent.index("LATE")


@EACH
async def test_results_that_come_in_two_messages_are_both_taken(service: Service) -> None:
    history = [
        user_message("go"),
        _called("a", "b"),
        _user(_result("b", "ONE")),
        _user(_result("a", "TWO"), TextBlock(text="well?")),
    ]
    (body,) = await _bodies(service, [history])
    assert GAVE_UP not in _sent(body)


@EACH
async def test_what_was_filled_in_at_the_end_gives_way_to_the_result(service: Service) -> None:
    begun = [user_message("go"), _called("a")]
    whole = [*begun, _user(_result("a", "FOUND"))]
    first, second = await _bodies(service, [begun, whole])
    assert GAVE_UP in _sent(first)
    assert GAVE_UP not in _sent(second)
    assert "FOUND" in _sent(second)


@EACH
def test_a_healed_history_is_the_same_grown_or_anew_and_its_beginning_stays(
    service: Service,
) -> None:
    history = [
        user_message("go"),
        _called("a.1", "a_1"),
        _user(_result("a.1", "r")),
        user_message("again"),
        _called("b"),
        Message(role="system", blocks=(TextBlock(text="s"),)),
        _user(_result("b", "late")),
        _called("b"),
        _user(_result("b", "in time")),
        user_message("end"),
    ]
    grown = Conversations(service.encoder)
    for length in range(1, len(history) + 1):
        anew = Conversations(service.encoder).encode("", MODEL, history[:length])
        assert grown.encode("c1", MODEL, history[:length]) == anew
    restarted = msgspec.json.decode(msgspec.json.encode(history), type=list[Message])
    assert Conversations(service.encoder).encode("c2", MODEL, restarted) == anew
    assert msgspec.json.encode(anew).count(GAVE_UP.encode()) == 2


@EACH
async def test_ids_that_differ_only_in_characters_a_service_refuses_stay_two(
    service: Service,
) -> None:
    ids = ("a.1", "a_1", "a:1", "é", "è", "x" * 70, "x" * 71)
    results = _user(*(_result(one, f"of {number}") for number, one in enumerate(ids)))
    (body,) = await _bodies(service, [[user_message("go"), _called(*ids), results]])
    sent = _sent(body)
    assert GAVE_UP not in sent
    found = re.findall(r'"(?:tool_use_id|tool_call_id|call_id)":"([^"]*)"', sent)
    assert len(set(found)) == len(ids)
    assert "a_1" in found


@pytest.mark.parametrize("longest", [40, 64])
def test_an_id_is_changed_only_where_it_must_be_and_always_in_the_same_way(longest: int) -> None:
    fine = ("toolu_01AbC-9", "x", "c" * longest)
    bad = ("", "a.1", "a:1", "c" * (longest + 1), "c" * 5000, "\ud83d", "\udfff", "é" * 60, "a\n")
    assert [wire_id(one, longest=longest) for one in fine] == list(fine)
    changed = [wire_id(one, longest=longest) for one in bad]
    assert changed == [wire_id(one, longest=longest) for one in bad]
    assert len({*changed, *fine}) == len(bad) + len(fine)
    for one in changed:
        assert re.fullmatch(rf"[a-zA-Z0-9_-]{{1,{longest}}}", one)


def test_a_list_of_tools_is_encoded_once_and_anew_when_it_is_another() -> None:
    asked: list[int] = []

    def encode(tools: Sequence[ToolSpec]) -> list[Wire]:
        asked.append(len(tools))
        return [{"name": tool.name} for tool in tools]

    look, draw = (ToolSpec(name=name, description="") for name in ("look", "draw"))
    tools = EncodedTools(encode)
    assert tools.of(()) == []
    first = tools.of([look, draw])
    assert tools.of((look, draw)) is first
    assert asked == [2]
    assert tools.of([look]) == [{"name": "look"}]
    assert tools.of([look, ToolSpec(name="draw", description="")]) == [
        {"name": "look"},
        {"name": "draw"},
    ]
    assert tools.of(()) == []
    assert asked == [2, 1, 2, 0]


SEALED = "E" * 80
HEAVY: tuple[Block, ...] = (
    ReasoningBlock(ext={"openai": {"type": "reasoning", "encrypted_content": SEALED}}),
    ReasoningBlock(redacted=True, ext={"anthropic": {"data": SEALED}}),
    TextBlock(text="t", ext={"anthropic": {"citations": [{"cited_text": SEALED}]}}),
    ToolCallBlock(id="c", name="x", ext={"openai-chat": {"signature": {"of": SEALED}}}),
    OpaqueBlock(provider="anthropic", raw={"type": "compaction", "content": SEALED}),
)


@pytest.mark.parametrize("block", HEAVY, ids=lambda one: type(one).__name__)
def test_what_is_sealed_counts_when_it_is_asked_how_much_is_kept(block: Block) -> None:
    conversations = Conversations(partial(AnthropicEncoder, "anthropic"), max_chars=100)
    history = [user_message("a"), Message(role="assistant", blocks=(block,))]
    if isinstance(block, ToolCallBlock):
        history.append(_user(ToolResultBlock(call_id="c")))
    first = conversations.encode("c1", MODEL, history)
    assert conversations.encode("c1", MODEL, history)[0] is first[0], "it is kept"
    conversations.encode("c2", MODEL, [user_message("y" * 30)])
    assert conversations.encode("c1", MODEL, history)[0] is not first[0], "and was forgotten"
