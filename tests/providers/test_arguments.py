"""Arguments as a model wrote them: an object, or no call."""

from __future__ import annotations

import pytest

from bamboo_mcp.providers.arguments import BadCall, bad_tool_json, checked_arguments


def test_an_object_comes_out_as_it_is() -> None:
    assert checked_arguments("look", '{"a": [1, null], "b": "ä"}') == {"a": [1, None], "b": "ä"}
    assert checked_arguments("look", "{}") == {}


@pytest.mark.parametrize("text", ["", " ", "{", '{"a": 1} {}', "[1]", "null", '"{}"', "{'a': 1}"])
def test_anything_else_is_told_with_the_tool_and_the_words(text: str) -> None:
    with pytest.raises(BadCall) as caught:
        checked_arguments("look", text)
    assert "'look'" in str(caught.value)
    assert repr(text) in str(caught.value)


def test_long_arguments_are_told_by_their_beginning() -> None:
    with pytest.raises(BadCall) as caught:
        checked_arguments("look", "x" * 100_000)
    assert len(str(caught.value)) < 500


def test_the_failure_names_instance_and_model_and_whether_something_was_shown() -> None:
    failure = bad_tool_json("work:llama3:8b", BadCall("called 'x' badly"), started=True)
    assert failure.message == "work:llama3:8b called 'x' badly"
    assert (failure.provider, failure.started, failure.retryable) == ("work", True, True)
