"""The error tree: stable codes, a sentence each, and what crosses a process keeps its kind."""

from __future__ import annotations

import pickle
import re

import pytest

from actors import errors
from actors.errors import STATUS_OF_CODE, ServiceError, error_from_code, http_status


def tree(base: type[ServiceError] = ServiceError) -> list[type[ServiceError]]:
    """The errors of the tree; other modules may derive from them under the same code."""
    children = [c for c in base.__subclasses__() if c.__module__ == errors.__name__]
    return [base, *(leaf for child in children for leaf in tree(child))]


PUBLIC = [cls for cls in tree() if not cls.__name__.startswith("_")]


@pytest.mark.parametrize("cls", PUBLIC, ids=lambda cls: cls.__name__)
def test_an_error_without_words_speaks_its_first_line(cls: type[ServiceError]) -> None:
    sentence = str(cls())
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize("cls", PUBLIC, ids=lambda cls: cls.__name__)
def test_an_error_with_words_speaks_them_and_survives_a_pickle(cls: type[ServiceError]) -> None:
    copy = pickle.loads(pickle.dumps(cls("the words")))
    assert (type(copy), str(copy), copy.message) == (cls, "the words", "the words")


def test_the_tree_in_the_docstring_names_every_error() -> None:
    named = set(re.findall(r"[|`]-- (\w+)", errors.__doc__ or ""))
    assert named == {cls.__name__ for cls in PUBLIC if cls is not ServiceError}


def test_codes_are_words_and_differ_but_for_the_root() -> None:
    codes = [cls.code for cls in PUBLIC if cls is not ServiceError]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)
    assert ServiceError.code == errors.InternalError.code


def test_output_follows_the_words_of_a_failed_command() -> None:
    failed = errors.InstallFailed("npm install failed.", output=("npm ERR! 404", "at left-pad"))
    assert str(failed) == "npm install failed.\nnpm ERR! 404\nat left-pad"
    assert pickle.loads(pickle.dumps(failed)).output == ("npm ERR! 404", "at left-pad")
    assert str(errors.BuildFailed("No.", output=("a.ts:1",))) == "No.\na.ts:1"
    assert str(errors.ServerFailed(output=("x",))) == "The dev server did not answer.\nx"


def test_only_the_servers_bad_moments_are_retryable() -> None:
    retryable = {cls.__name__ for cls in tree(errors.ModelError) if cls.retryable}  # type: ignore[attr-defined]  # all of them are ModelErrors
    assert retryable == {"ModelRateLimited", "ModelUnavailable", "ModelStreamBroken"}


def test_a_rate_limit_says_for_how_long() -> None:
    assert errors.ModelRateLimited("later", retry_after_seconds=1.5).retry_after_seconds == 1.5
    assert errors.ModelRateLimited().retry_after_seconds is None


@pytest.mark.parametrize("code", sorted(STATUS_OF_CODE))
def test_every_row_of_the_status_table_is_a_known_code(code: str) -> None:
    assert code in {cls.code for cls in PUBLIC}
    assert http_status(code) == STATUS_OF_CODE[code][0]


def test_a_code_without_a_row_is_a_server_error() -> None:
    assert http_status("model_error") == 500
    assert http_status("unheard_of") == 500


@pytest.mark.parametrize("cls", PUBLIC[1:], ids=lambda cls: cls.__name__)
def test_an_error_told_by_its_code_comes_back_as_itself(cls: type[ServiceError]) -> None:
    error = error_from_code(cls.code, "the words")
    assert (type(error), str(error)) == (cls, "the words")


def test_an_unknown_code_comes_back_as_an_internal_error() -> None:
    assert type(error_from_code("unheard_of", "words")) is errors.InternalError
