"""The estimate of tokens: about right, additive, and careful with other scripts."""

from __future__ import annotations

from actors.generation.tokens import estimated_tokens


def test_nothing_is_no_token() -> None:
    assert estimated_tokens() == estimated_tokens("") == 0


def test_ascii_has_three_and_a_half_characters_a_token() -> None:
    assert estimated_tokens("x" * 350) == 100
    assert estimated_tokens("x" * 175, "y" * 175) == 100


def test_every_character_of_another_script_counts() -> None:
    assert estimated_tokens("\u6f22" * 100) == 100
    assert estimated_tokens("x" * 35 + "\u00e9") == 11
