"""Rulers, sizings and running sizes: what is counted, what is learned, what is never added up."""

from __future__ import annotations

import pytest

from bamboo_mcp.domain.messages import (
    ImageBlock,
    Message,
    OpaqueBlock,
    RawBlock,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    user_message,
)
from bamboo_mcp.domain.text_tokens import estimate_text
from bamboo_mcp.domain.tokens import (
    CALL_TOKENS,
    ESTIMATED_WHOLE_CHARS,
    HIGHEST_FACTOR,
    IMAGE_TOKENS,
    LOWEST_FACTOR,
    MESSAGE_TOKENS,
    SLICE_CHARS,
    SLICES,
    Ruler,
    RunningSize,
    Sizing,
)
from bamboo_mcp.domain.tools import ToolSpec
from bamboo_mcp.domain.usage import NO_USAGE, Usage


class Letters:
    """A tokenizer to which every character is a token; it remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def __call__(self, text: str) -> int:
        self.given.append(text)
        return len(text)


def answer(text: str = "done") -> Message:
    return Message(role="assistant", blocks=(TextBlock(text=text),))


def letter_sizing(factor: float = 1.0) -> Sizing:
    return Sizing(Ruler(Letters()), factor=factor)


def test_a_message_is_its_texts_and_a_little_around_them() -> None:
    sizing = letter_sizing()
    assert sizing.messages([user_message("x" * 100)]) == 100 + MESSAGE_TOKENS
    call = ToolCallBlock(id="c1", name="look", arguments_json='{"n":1}')
    asked = Message(role="assistant", blocks=(call,))
    assert sizing.messages([asked]) >= len('look{"n":1}') + CALL_TOKENS
    result = ToolResultBlock(call_id="c1", content=(TextBlock(text="y" * 50),))
    told = Message(role="user", blocks=(result, result))
    assert sizing.messages([told]) >= 2 * (50 + CALL_TOKENS)


def test_many_messages_are_as_much_as_each_of_them() -> None:
    sizing = Sizing()
    messages = [user_message(f"What of file number {n}?") for n in range(50)]
    together, apart = sizing.messages(messages), sum(sizing.messages([m]) for m in messages)
    assert 0.9 < together / apart <= 1.0


def test_an_image_costs_the_same_whatever_its_bytes_and_factor_are() -> None:
    small, large = (
        Message(role="user", blocks=(ImageBlock(media_type="image/png", data_b64=data),))
        for data in ("AAAA", "A" * 1_000_000)
    )
    for factor in (0.5, 1.0, 2.0):
        sizing = letter_sizing(factor)
        assert sizing.messages([small]) == sizing.messages([large])
        assert sizing.messages([small]) - IMAGE_TOKENS in range(1, 2 * MESSAGE_TOKENS + 1)


def test_an_image_in_a_tool_result_counts_as_an_image() -> None:
    image = ImageBlock(media_type="image/png", data_b64="A" * 100_000)
    told = Message(role="user", blocks=(ToolResultBlock(call_id="c", content=(image,)),))
    assert IMAGE_TOKENS < letter_sizing().messages([told]) < IMAGE_TOKENS + 50


def test_audio_is_read_by_no_model_and_its_bytes_are_not_counted() -> None:
    audio = RawBlock(raw={"type": "audio", "data": "A" * 100_000, "mimeType": "audio/wav"})
    assert Sizing().messages([Message(role="user", blocks=(audio,))]) < 100


def test_the_text_of_an_embedded_resource_is_counted() -> None:
    resource = {"uri": "file:///a.txt", "text": "x" * 5_000}
    block = RawBlock(raw={"type": "resource", "resource": resource})
    assert 5_000 < letter_sizing().messages([Message(role="user", blocks=(block,))]) < 5_100


def test_encrypted_thoughts_are_guessed_from_their_length() -> None:
    sealed = ReasoningBlock(redacted=True, ext={"anthropic": {"data": "A" * 10_000}})
    block = OpaqueBlock(provider="openai", raw={"encrypted_content": "A" * 10_000})
    for one in (sealed, block):
        guessed = letter_sizing().messages([Message(role="assistant", blocks=(one,))])
        assert 1_000 < guessed < 5_000
    # Where the thought can be read, it is what counts, and not its signature beside it.
    shown = ReasoningBlock(text="x" * 40, ext={"anthropic": {"signature": "A" * 10_000}})
    assert letter_sizing().messages([Message(role="assistant", blocks=(shown,))]) < 60


def test_a_text_past_the_bound_is_counted_in_a_sample_from_head_to_tail() -> None:
    letters = Letters()
    ruler = Ruler(letters, whole_up_to=100_000)
    assert ruler.text("x" * 100_000) == 100_000
    assert len(letters.given) == 1
    letters.given.clear()
    text = "h" * SLICE_CHARS + "m" * 5_000_000 + "t" * SLICE_CHARS
    assert ruler.text(text) == len(text)
    assert sum(map(len, letters.given)) == SLICES * SLICE_CHARS
    assert set(letters.given[0]) == {"h"}
    assert set(letters.given[-1]) == {"t"}


def test_the_sample_of_a_long_text_tells_nearly_what_the_whole_would() -> None:
    lines = [f"{n:06} GET /v1/items/{n * 37 % 9_973} took {n % 900} ms\n" for n in range(20_000)]
    prose = "The agent looks at the file and says what is in it. " * 10_000
    text = "".join(lines) + prose
    assert len(text) > 10 * ESTIMATED_WHOLE_CHARS
    assert 0.9 < Ruler().text(text) / estimate_text(text) < 1.1


def test_the_same_text_is_always_the_same_number_of_tokens() -> None:
    text = "".join(chr(32 + n * 7919 % 900) for n in range(300_000))
    assert Ruler().text(text) == Ruler().text(text)


def test_a_tool_is_counted_with_its_description_and_schema() -> None:
    plain = ToolSpec(name="look", description="Look.")
    schema = {"type": "object", "properties": {"path": {"type": "string", "maxLength": 4_096}}}
    with_schema = ToolSpec(name="look", description="Look.", input_schema=schema)
    wordy = ToolSpec(name="look", description="Look. " * 200)
    sizing = Sizing()
    one, two, three = (sizing.tools([spec]) for spec in (plain, with_schema, wordy))
    assert 10 < one < two < three
    assert sizing.tools([plain, with_schema, wordy]) == one + two + three


def test_a_tool_is_counted_once_for_all_lists_it_stands_in() -> None:
    letters = Letters()
    ruler = Ruler(letters)
    specs = [ToolSpec(name=f"tool_{n}", description="Do it.") for n in range(20)]
    first = ruler.tools(specs)
    assert len(letters.given) == 20
    assert ruler.tools(list(specs)) == first
    assert ruler.tools(tuple(specs[:10])) < first
    assert len(letters.given) == 20


def test_a_tool_that_is_gone_is_never_mistaken_for_a_new_one() -> None:
    ruler = Ruler()
    for n in range(10_000):  # each could come to lie where the one before it was
        spec = ToolSpec(name="t", description="x" * (n % 7) * 100)
        assert ruler.tools([spec]) == Ruler().tools([spec])


def test_a_schema_of_other_than_plain_dicts_is_counted_too() -> None:
    odd = ToolSpec(name="odd", description="", input_schema={"default": object(), "n": 1j})
    assert Sizing().tools([odd]) > 0


def test_a_system_prompt_is_counted_once() -> None:
    letters = Letters()
    ruler = Ruler(letters)
    assert [ruler.system("You are an agent.") for _ in range(3)] == [17, 17, 17]
    assert len(letters.given) == 1
    assert ruler.system("") == 0


def test_the_factor_follows_what_models_report() -> None:
    sizing = letter_sizing()
    for _ in range(20):
        sizing.observe(5_000, 7_000)
    assert sizing.factor == pytest.approx(1.4, abs=0.01)
    assert sizing.text("x" * 1_000) == pytest.approx(1_400, abs=10)


def test_one_report_about_a_long_prompt_is_nearly_believed() -> None:
    sizing = letter_sizing(1.35)
    sizing.observe(20_000, 18_000)
    assert sizing.factor == pytest.approx(0.92, abs=0.02)


def test_a_report_about_a_few_words_hardly_moves_the_factor() -> None:
    sizing = letter_sizing()
    sizing.observe(10, 25)  # mostly what the service puts around a message
    assert 1.0 < sizing.factor < 1.02


def test_the_factor_goes_on_learning_after_many_reports() -> None:
    sizing = letter_sizing()
    for _ in range(100):
        sizing.observe(20_000, 20_000)
    for _ in range(5):
        sizing.observe(20_000, 30_000)
    assert sizing.factor > 1.45


def test_the_factor_stays_within_its_bounds() -> None:
    low, high = letter_sizing(), letter_sizing()
    for _ in range(50):
        low.observe(10_000, 2_100)
        high.observe(10_000, 59_000)
    assert (low.factor, high.factor) == (LOWEST_FACTOR, HIGHEST_FACTOR)
    assert letter_sizing(99.0).factor == HIGHEST_FACTOR


@pytest.mark.parametrize(("estimated", "reported"), [(50_000, 12), (10, 15_000), (100, -5), (0, 9)])
def test_a_report_that_cannot_be_about_this_prompt_teaches_nothing(
    estimated: int, reported: int
) -> None:
    sizing = letter_sizing(1.35)
    sizing.observe(estimated, reported)
    assert sizing.factor == 1.35


def test_before_the_first_answer_all_is_estimated_with_the_factor() -> None:
    tool = ToolSpec(name="look", description="Look.")
    sizing = letter_sizing(2.0)
    size = RunningSize(sizing, [user_message("x" * 100)], system="s" * 50, tools=[tool])
    rest = sizing.ruler.tools([tool])
    assert size.tokens == 2 * (100 + MESSAGE_TOKENS + 50 + rest)


def test_an_answer_puts_what_was_reported_in_place_of_the_estimate() -> None:
    size = RunningSize(letter_sizing(), [user_message("x" * 300)])
    size.answered(answer("y" * 500), Usage(input=300 + MESSAGE_TOKENS, output=200))
    assert size.tokens == 500 + MESSAGE_TOKENS
    size.add(user_message("z" * 96))
    assert size.tokens == 500 + MESSAGE_TOKENS + 96 + MESSAGE_TOKENS


def test_the_answer_itself_is_not_counted_twice() -> None:
    with_long, with_short = (RunningSize(letter_sizing(), [user_message("hi")]) for _ in range(2))
    with_long.answered(answer("y" * 10_000), Usage(input=20, output=2_500))
    with_short.answered(answer("y"), Usage(input=20, output=2_500))
    assert with_long.tokens == with_short.tokens == 2_520


def test_without_reports_every_message_is_estimated_once() -> None:
    sizing = letter_sizing()
    size = RunningSize(sizing, [user_message("x" * 100)])
    for _ in range(3):
        size.answered(answer("y" * 100), NO_USAGE)
        size.add(user_message("z" * 100))
    assert size.tokens == 7 * (100 + MESSAGE_TOKENS)
    assert sizing.factor == 1.0


def test_output_alone_is_no_report_of_the_prompt() -> None:
    size = RunningSize(letter_sizing(), [user_message("x" * 100)])
    size.answered(answer("y" * 100), Usage(output=25))
    assert size.tokens == 2 * (100 + MESSAGE_TOKENS)


def test_the_first_answer_of_a_run_teaches_all_runs_on_its_model() -> None:
    sizing = letter_sizing()
    first = RunningSize(sizing, [user_message("x" * 10_000)])
    second = RunningSize(sizing, [user_message("x" * 10_000)])
    first.answered(answer(), Usage(input=5_000, output=5))
    assert sizing.factor == pytest.approx(0.54, abs=0.01)
    assert second.tokens == pytest.approx(5_450, abs=20)


def test_what_came_after_a_report_teaches_by_how_much_the_next_one_is_larger() -> None:
    sizing = letter_sizing()
    size = RunningSize(sizing, [user_message("x" * 100)])
    size.answered(answer(), Usage(input=100, output=10))
    factor = sizing.factor
    size.add(user_message("z" * 10_000))
    size.answered(answer(), Usage(input=110 + 20_000, output=10))
    assert sizing.factor > factor + 0.5


def test_thoughts_that_may_be_left_out_of_the_next_prompt_teach_nothing() -> None:
    sizing = letter_sizing()
    size = RunningSize(sizing, [user_message("x" * 100)])
    size.answered(answer(), Usage(input=104, output=5_000, reasoning=4_990))
    factor = sizing.factor
    size.add(user_message("z" * 10_000))
    size.answered(answer(), Usage(input=104 + 10 + 10_000, output=10))
    assert sizing.factor == factor
    size.add(user_message("z" * 10_000))
    size.answered(answer(), Usage(input=10_124 + 20_000, output=10))
    assert sizing.factor > factor


def test_a_prompt_with_images_teaches_nothing_about_texts() -> None:
    sizing = letter_sizing()
    image = ImageBlock(media_type="image/png", data_b64="AAAA")
    size = RunningSize(sizing, [user_message("x" * 9_000), Message(role="user", blocks=(image,))])
    size.answered(answer(), Usage(input=9_000 + 4_000, output=5))
    assert sizing.factor == 1.0
    assert size.tokens == 13_005


def test_a_prompt_that_was_cut_to_fit_teaches_nothing() -> None:
    sizing = letter_sizing()
    size = RunningSize(sizing, [user_message("x" * 10_000)])
    size.answered(answer(), Usage(input=6_000, output=5), whole=False)
    assert sizing.factor == 1.0
    assert size.tokens == 6_005


def test_another_model_is_not_taught_by_what_was_counted_for_the_first() -> None:
    first, second = letter_sizing(), letter_sizing(1.35)
    size = RunningSize(first, [user_message("x" * 10_000)])
    size.change(second)
    size.answered(answer(), Usage(input=20_000, output=100))
    assert (first.factor, second.factor) == (1.0, 1.35)
    assert size.tokens == 20_100
    size.add(user_message("x" * (10_000 - MESSAGE_TOKENS)))
    assert size.tokens == 20_100 + 13_500
    size.answered(answer(), Usage(input=20_100 + 20_000, output=100))
    assert first.factor == 1.0
    assert second.factor > 1.35
