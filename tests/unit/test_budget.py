"""How long an answer may be where a cap on cost asks for a bound."""

from __future__ import annotations

import pytest

from actors.generation.budget import MIN_ANSWER_TOKENS, answer_bound
from actors.generation.model import ChatMessage, ModelFacts, ModelRequest

MOST = 32_000


def request_of(prompt_tokens: int) -> ModelRequest:
    """A request of so many tokens by estimate."""
    return ModelRequest(
        purpose="implement",
        model="m",
        messages=(ChatMessage(role="user", content="\u6f22" * prompt_tokens),),
        description="it",
        phase_number=1,
    )


@pytest.mark.parametrize(
    ("prompt_tokens", "facts", "expected"),
    [
        (22_857, ModelFacts(), MOST),
        (22_857, ModelFacts(max_completion_tokens=8_192), 8_192),
        (22_857, ModelFacts(context_tokens=200_000), MOST),
        (22_857, ModelFacts(context_tokens=32_768), 32_768 - 27_429),
        (22_857, ModelFacts(context_tokens=32_768, max_completion_tokens=4_096), 4_096),
        (22_857, ModelFacts(context_tokens=28_000), MIN_ANSWER_TOKENS),
        (22_857, ModelFacts(context_tokens=8_192), MIN_ANSWER_TOKENS),
        (22_857, ModelFacts(context_tokens=8_192, max_completion_tokens=500), 500),
    ],
)
def test_an_answer_is_bound_by_the_model_and_by_what_its_context_leaves(
    prompt_tokens: int, facts: ModelFacts, expected: int
) -> None:
    assert answer_bound(request_of(prompt_tokens), facts, MOST) == expected
