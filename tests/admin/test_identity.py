"""Keys of messages in URLs: each message has one, and only one."""

import pytest

from django_redis_streams.admin.identity import join, split


@pytest.mark.parametrize(
    "parts",
    [("orders", "1-0"), ("a/b", "c%2F", ""), ("", "", ""), ("ü", "\udcff\x00", "%"), ("..", "//", "a b+c")],
)
def test_a_key_leads_back_to_what_it_was_made_of(parts: tuple[str, ...]) -> None:
    """Whatever bytes the parts hold, the key is ASCII and tells them apart."""
    key = join(*parts)
    assert key.isascii()
    assert split(key, len(parts)) == parts
    assert split(key, len(parts) + 1) is None


@pytest.mark.parametrize(
    "key", ["", "a", "a/b/c", "a/%2f", "a/%41", "a/ü", "a/b c", "a/%", "a/%zz", "a/\0", "a/\ud800"]
)
def test_what_was_not_made_is_no_key(key: str) -> None:
    """Another spelling of a key would be a second name for a message."""
    assert split(key, 2) is None
