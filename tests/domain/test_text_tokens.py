"""The estimate of a text's tokens, with OpenAI's own tokenizer as the judge."""

# ruff: noqa: RUF001 - the texts are Russian and Chinese, and look like nothing else

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable

import pytest

from bamboo_mcp.domain.text_tokens import estimate_text
from bamboo_mcp.providers.sizing import o200k_counter

ENGLISH = """\
The agent reads the task, looks at the files it was pointed to, and decides what to do first. When
a test fails it does not guess: it opens the log, finds the line that broke, and changes one thing
at a time. Most of the work is reading; the change itself is often no longer than a sentence. If
something cannot be found out, it says so, and says what it would need in order to go on.
"""

CODE = '''\
class Inbox:
    """Messages that wait for the next round, oldest first."""

    def __init__(self, *, limit: int = 100) -> None:
        self._waiting: list[Message] = []
        self._limit = limit
        self.closed = False

    def put(self, message: Message) -> bool:
        if self.closed or len(self._waiting) >= self._limit:
            return False
        self._waiting.append(message)
        return True

    def take(self, *, only_urgent: bool = False) -> list[Message]:
        taken = [m for m in self._waiting if m.urgent or not only_urgent]
        self._waiting = [m for m in self._waiting if m not in taken]
        return taken
'''

ROWS = json.dumps(
    [
        {
            "id": 40_100 + n,
            "customer": f"c-{n * 7919 % 10_007:05}",
            "ordered_at": f"2026-{n % 12 + 1:02}-{n % 28 + 1:02}T{n % 24:02}:17:{n % 60:02}Z",
            "total": round(n * 13.37, 2),
            "paid": n % 3 > 0,
        }
        for n in range(30)
    ]
)

SCHEMA = json.dumps(
    {
        "name": "search_files",
        "description": "Find lines that match a pattern in the files of the workspace.",
        "input_schema": {
            "type": "object",
            "properties": {
                "pattern": {"type": "string", "description": "A regular expression."},
                "path": {"type": "string", "description": "Where to look; all files if empty."},
                "ignore_case": {"type": "boolean", "default": False},
                "max_matches": {"type": "integer", "minimum": 1, "maximum": 1000},
            },
            "required": ["pattern"],
            "additionalProperties": False,
        },
    },
    separators=(",", ":"),
)

LOGS = "\n".join(
    f"2026-11-21 10:{n % 60:02}:{n * 7 % 60:02},{n * 37 % 1000:03} INFO worker-{n % 4} "
    f"request {n * 2_654_435_761 % 2**32:08x} GET /v1/items/{n * 31} 200 in {n * 1.37:.2f} ms"
    for n in range(40)
)

GERMAN = """\
Der Dienst startet erst, wenn die Einstellungen gelesen und die Verzeichnisse angelegt sind. Fehlt
ein Schlüssel, nennt die Meldung genau, welche Umgebungsvariable gesetzt werden muss. Während der
Ausführung können jederzeit weitere Nachrichten geschickt werden; sie werden zu Beginn der nächsten
Runde gelesen. Abgebrochene Läufe hinterlassen ein vollständiges Protokoll.
"""

RUSSIAN = """\
Агент сначала читает задание, затем смотрит файлы, о которых идёт речь, и только после этого решает,
что делать. Если проверка не прошла, он открывает журнал и ищет строку, в которой возникла ошибка.
Сообщения, отправленные во время работы, будут прочитаны в начале следующего круга. Прерванная
работа оставляет полный протокол, и её можно продолжить после перезапуска.
"""

CHINESE = """\
代理先阅读任务，再查看相关的文件，然后决定第一步做什么。如果测试失败，它会打开日志，找到出错的那一行，
每次只改动一个地方。运行期间可以随时发送新的消息，这些消息会在下一轮开始时被读取。被取消的运行会留下完整的记录，
服务器重新启动之后仍然可以继续。如果缺少密钥，错误信息会说明需要设置哪一个环境变量。
"""

JAPANESE = """\
エージェントはまず課題を読み、関係するファイルを確認してから、最初に何をするかを決めます。テストが失敗した場合は
ログを開き、エラーが起きた行を探して、一度に一か所だけ変更します。実行中でも新しいメッセージを送ることができ、
次のラウンドの始めに読まれます。取り消された実行は完全な記録を残し、サーバーを再起動した後でも続けられます。
"""

KINDS = {
    "English": ENGLISH,
    "Python": CODE,
    "JSON rows": ROWS,
    "tool schema": SCHEMA,
    "logs": LOGS,
    "German": GERMAN,
    "Russian": RUSSIAN,
    "Chinese": CHINESE,
    "Japanese": JAPANESE,
}


@pytest.fixture(scope="module")
def o200k() -> Callable[[str], int]:
    count = o200k_counter()
    if count is None:
        pytest.skip("bpe-openai is not installed")
    return count


@pytest.mark.parametrize("kind", KINDS)
def test_the_estimate_is_near_to_what_the_tokenizer_counts(
    kind: str, o200k: Callable[[str], int]
) -> None:
    text = KINDS[kind]
    assert 0.75 < estimate_text(text) / o200k(text) < 1.45


@pytest.mark.parametrize("kind", KINDS)
def test_a_mixture_of_two_kinds_is_estimated_as_well_as_each(
    kind: str, o200k: Callable[[str], int]
) -> None:
    text = f"{KINDS[kind]}\n\n{ENGLISH}"
    assert 0.75 < estimate_text(text) / o200k(text) < 1.45


def test_what_has_no_words_is_estimated_too(o200k: Callable[[str], int]) -> None:
    chance = random.Random(1)
    digits = "".join(chance.choices("0123456789", k=3_000))
    hexadecimal = "".join(chance.choices("0123456789abcdef", k=3_000))
    base64 = "".join(chance.choices("ABCDEFGHIJabcdefghijKLMNopqrstuv0123456789+/", k=3_000))
    emoji = " ".join(chance.choices("😀🚀🎉🔥👍🐍📦🧪", k=300))
    drawn = "├── agent\n│   ├── loop.py\n│   └── run.py\n└── README.md\n" * 20
    for text in (digits, hexadecimal, base64, emoji, drawn):
        assert 0.7 < estimate_text(text) / o200k(text) < 1.5, text[:40]


def test_an_empty_text_is_nothing_and_any_other_at_least_one_token() -> None:
    assert estimate_text("") == 0
    for text in ("a", " ", "\n", "\0", "\x85", "é", "中", "😀", "\ud800", "\udc00", "\uffff"):
        assert estimate_text(text) >= 1, repr(text)


def test_a_long_text_of_one_class_alone_is_not_overlooked() -> None:
    for character in ("a", "Z", "7", "!", "\u00e9", "ж", "中", "あ", "한", "😀", "\ue000"):
        assert estimate_text(character * 10_000) >= 1_000, character
    assert estimate_text(" " * 10_000) >= 50  # one token for up to a hundred of them
    assert estimate_text("a " * 10_000) >= 5_000


@pytest.mark.parametrize("kind", KINDS)
def test_more_text_is_never_fewer_tokens(kind: str) -> None:
    text = KINDS[kind]
    sizes = [estimate_text(text[:length]) for length in range(len(text))]
    # A character may join two runs that were two, no more than that.
    assert all(later >= earlier - 1 for earlier, later in itertools.pairwise(sizes))


def test_two_texts_are_as_many_tokens_together_as_apart() -> None:
    together = estimate_text(ENGLISH + CHINESE + LOGS)
    apart = estimate_text(ENGLISH) + estimate_text(CHINESE) + estimate_text(LOGS)
    assert abs(together - apart) <= 3


def test_half_a_character_does_not_hide_the_rest() -> None:
    assert estimate_text("\ud83d" + ENGLISH) >= estimate_text(ENGLISH)
