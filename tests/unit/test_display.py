"""Text from outside, made safe for logs and terminals (DESIGN §10)."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canarysync.display import columns, short, shown, wrapped

texts = st.text(st.characters(categories=["Cc", "Cf", "Cs"]) | st.characters())
"""With many controls, marks and lone surrogates, which plain text rarely holds."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("visit 7 (a).json", "visit 7 (a).json", id="plain"),
        pytest.param("Müller-日本-😀.json", "Müller-日本-😀.json", id="letters of the world stay"),
        pytest.param("a\nb\r\tc", r"a\nb\r\tc", id="line ends forge log lines"),
        pytest.param("\x1b[2J\x07", r"\x1b[2J\x07", id="terminal controls"),
        pytest.param("\x00\x7f", r"\x00\x7f", id="NUL and DEL"),
        pytest.param("\x9b31m", r"\x9b31m", id="C1: CSI in one character"),
        pytest.param("a\u202egnp.exe", r"a\u202egnp.exe", id="right-to-left override"),
        pytest.param("\u2066\u2069\u200f", r"\u2066\u2069\u200f", id="isolates and marks"),
        pytest.param("a\u200bb\ufeff", r"a\u200bb\ufeff", id="invisible"),
        pytest.param("a\u2028b\u2029", r"a\u2028b\u2029", id="Unicode line ends"),
        pytest.param("\U000e0041", r"\U000e0041", id="tags"),
        pytest.param("\ue000", r"\ue000", id="private use"),
        pytest.param("\U0010ffff", r"\U0010ffff", id="not a character"),
        pytest.param("\udcff\udc80.json", r"\xff\x80.json", id="bytes that are not UTF-8"),
        pytest.param("\ud800", r"\ud800", id="a lone surrogate"),
        pytest.param(r"a\nb", r"a\\nb", id="a backslash of its own is told apart"),
    ],
)
def test_shown(text: str, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("abcde", 5, "abcde"),
        ("abcdef", 5, "abcd…"),
        ("\n" * 5, 5, "\\n\\n…"),
        ("x" * 256, 255, "x" * 254 + "…"),
        ("abc", 1, "…"),
    ],
)
def test_a_long_text_is_cut(text: str, most: int, expected: str) -> None:
    assert shown(text, most) == expected


@given(texts, st.integers(1, 300))
def test_the_result_is_short_harmless_and_can_be_printed(text: str, most: int) -> None:
    safe = shown(text, most)
    assert len(safe) <= most
    assert not [c for c in safe if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029"]
    safe.encode("utf-8")


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))))
def test_two_names_are_not_shown_alike(text: str) -> None:
    """Escapes can be undone, so that what is shown names one file only."""
    assert shown(text, 10_000).encode("latin-1", "backslashreplace").decode("unicode_escape") == text


@given(texts, st.integers(5, 60))
def test_short_fits_and_keeps_both_ends(text: str, most: int) -> None:
    cut = short(shown(text), most)
    assert columns(cut) <= most
    if cut != shown(text):
        head, _, tail = cut.partition("…")
        assert shown(text).startswith(head)
        assert shown(text).endswith(tail)


@given(st.lists(st.text("abç日", max_size=12)), st.integers(20, 60))
def test_wrapped_loses_nothing_and_fits(words: list[str], width: int) -> None:
    lines = wrapped(" ".join(words), "first ", "      ", width).split("\n")
    assert all(columns(line) <= max(width, 6 + 24) for line in lines)
    assert " ".join(line[6:] for line in lines) == " ".join(words)


def test_a_number_is_not_parted_from_its_unit() -> None:
    assert wrapped("next try in 5 s", "", "  ", 13) == "next try in\n  5 s"
    assert wrapped("of 12 files", "", "  ", 7) == "of 12\n  files"
