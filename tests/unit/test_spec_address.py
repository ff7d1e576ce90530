"""Addresses in guest files, taken apart."""

from __future__ import annotations

import pytest

from qsup.spec.address import WebUrl


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("http://127.0.0.1:8080/health?a=b", "127.0.0.1", 8080, "/health?a=b"),
        ("http://[::1]:81/", "::1", 81, "/"),
        ("http://[::1]", "::1", 80, "/"),
        ("http://web_1.example-net/a/b", "web_1.example-net", 80, "/a/b"),
    ],
)
def test_a_url_is_taken_apart(text: str, host: str, port: int, path: str) -> None:
    url = WebUrl.of(text)
    assert (url.host, url.port, url.path, url.trouble) == (host, port, path, None)


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("http://a:0/", '"0" is no port; ports go from 1 to 65535'),
        ("http://[]/", '"[]" is no host with or without a port'),
        ("http://::1/", '"::1" is no host with or without a port'),
        ("http://[1:2]/", '"[1:2]" is no IPv6 address'),
        ("http://a:/", '"a:" is no host with or without a port'),
    ],
)
def test_where_nobody_can_be_asked_is_told(text: str, trouble: str) -> None:
    assert WebUrl.of(text).trouble == trouble
