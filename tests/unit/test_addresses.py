"""Host names of apps: valid labels, one for each id, the same for ever."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.addresses import digest_in, id_digest, preview_url, slug_of

#: RFC 1123, 2.1, in lower case.
LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")

any_id = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
#: Ids that differ in little, and such as look like slugs.
near_id = st.from_regex(r"[aA_-]{1,4}", fullmatch=True) | any_id.map(slug_of)


@given(any_id | near_id)
def test_a_slug_is_a_host_label(project_id: str) -> None:
    assert LABEL.fullmatch(slug_of(project_id))


@given(any_id | near_id, any_id | near_id)
def test_no_two_projects_share_a_slug(one: str, other: str) -> None:
    assert (slug_of(one) == slug_of(other)) is (one == other)


@given(any_id | near_id)
def test_a_slug_is_the_id_or_has_its_digest(project_id: str) -> None:
    slug = slug_of(project_id)
    assert digest_in(slug) == (None if slug == project_id else id_digest(project_id))


@pytest.mark.parametrize(
    ("project_id", "slug"),
    [
        ("shop", "shop"),
        ("my-shop-2", "my-shop-2"),
        ("0", "0"),
        ("a" * 63, "a" * 63),
        ("My_Shop", "my-shop-p0da13f5b1702a25177c5"),
        ("shop-", "shop-p3f9921053f610cf560ae"),
        ("___", "pbda251550bf0478f4172"),
        ("xn--shop", "xn-shop-pb7e42745606ae1a68886"),
        ("a" * 64, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-pffe054fe7ae0cb6dc65c"),
        ("shop-p65ff8d9fbcdd1b3fd4cf", "shop-p65ff8d9fbcdd1b3fd4cf-pa056abb8b78860355ae8"),
    ],
)
def test_addresses_stay_what_they_are(project_id: str, slug: str) -> None:
    """Bookmarks and an app's data in the browser hang on them."""
    assert slug_of(project_id) == slug


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://localhost:8080", "http://shop.localhost:8080/"),
        ("https://apps.example.com", "https://shop.apps.example.com/"),
    ],
)
def test_an_app_has_one_address(base: str, url: str) -> None:
    assert preview_url(base, "shop") == url
