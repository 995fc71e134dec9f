"""Addresses and credentials: what is taken, what is refused, what is never shown."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Mapping

import pytest
import requests

from medseg.dicom.web_address import WebAddress, is_web_address
from medseg.dicom.web_session import authorization
from medseg.errors import PacsError

TAKEN = {
    "series": ("dicomweb://pacs/studies/1.2/series/3.4", WebAddress("dicomweb", "pacs", None, "", "1.2", "3.4")),
    "study": (
        "dicomwebs://pacs:8443/dicom-web/studies/1.2",
        WebAddress("dicomwebs", "pacs", 8443, "/dicom-web", "1.2"),
    ),
    "service": ("dicomweb://127.0.0.1:8042/a/b/", WebAddress("dicomweb", "127.0.0.1", 8042, "/a/b")),
    "ipv6": ("dicomweb://[::1]:80/x/studies/1", WebAddress("dicomweb", "::1", 80, "/x", "1")),
    "prefix_named_studies": ("dicomweb://h/studies/1/series/2/", WebAddress("dicomweb", "h", None, "", "1", "2")),
}
URLS = {
    "series": "http://pacs",
    "study": "https://pacs:8443/dicom-web",
    "service": "http://127.0.0.1:8042/a/b",
    "ipv6": "http://[::1]:80/x",
    "prefix_named_studies": "http://h",
}
REFUSED = {
    "no_host": "dicomweb:///studies/1",
    "one_slash": "dicomweb:/host/studies/1",
    "scheme": "https://host/studies/1",
    "port": "dicomweb://host:99999/studies/1",
    "no_uid": "dicomweb://host/studies/1.2;DROP",
    "long_uid": "dicomweb://host/studies/" + "1" * 65,
    "leaves_the_prefix": "dicomweb://host/a/%2e%2e/studies/1",
    "series_only": "dicomweb://host/series/../1",
    "query": "dicomweb://host/studies/1?x=1",
    "fragment": "dicomweb://host/studies/1#x",
}


@pytest.mark.parametrize("name", TAKEN)
def test_an_address_is_read(name: str):
    text, expected = TAKEN[name]
    assert WebAddress.parse(text) == expected
    assert expected.url == URLS[name]
    assert is_web_address(text)


@pytest.mark.parametrize("name", REFUSED)
def test_other_forms_are_refused(name: str):
    with pytest.raises(PacsError, match="DICOMweb address"):
        WebAddress.parse(REFUSED[name])


@pytest.mark.parametrize("text", ["dicomweb://anna:hunter2@host/studies/1", "dicomweb://anna:hunter2@host:x/studies/1"])
def test_a_password_in_an_address_is_refused_and_not_repeated(text: str):
    with pytest.raises(PacsError) as caught:
        WebAddress.parse(text)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_path_is_no_address():
    assert not is_web_address("dicomweb/series")


PLAIN, SAFE = WebAddress.parse("dicomweb://pacs:8042"), WebAddress.parse("dicomwebs://pacs")


def _header(address: WebAddress, environment: Mapping[str, str]) -> str | None:
    request = requests.Request("GET", address.url).prepare()
    return authorization(address, environment)(request).headers.get("Authorization")


def test_credentials_become_a_header():
    assert _header(SAFE, {"MEDSEG_DICOMWEB_TOKEN": "abc.def"}) == "Bearer abc.def"
    basic = _header(SAFE, {"MEDSEG_DICOMWEB_USER": "änne", "MEDSEG_DICOMWEB_PASSWORD": "hunter2"})
    assert basic is not None
    assert base64.b64decode(basic.removeprefix("Basic ")).decode() == "änne:hunter2"
    assert _header(SAFE, {}) is None
    assert _header(PLAIN, {"MEDSEG_DICOMWEB_TOKEN": ""}) is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_loopback_needs_no_tls(host: str):
    place = WebAddress.parse(f"dicomweb://{host}:8042")
    assert _header(place, {"MEDSEG_DICOMWEB_TOKEN": "abc"}) == "Bearer abc"


def test_a_trusted_network_is_declared():
    environment = {"MEDSEG_DICOMWEB_TOKEN": "abc", "MEDSEG_DICOMWEB_PLAIN": "1"}
    assert _header(PLAIN, environment) == "Bearer abc"


WRONG = {
    "clear_text": (PLAIN, {"TOKEN": "hunter2"}, "unencrypted"),
    "loopback_lookalike": (WebAddress.parse("dicomweb://127.0.0.1.evil.org"), {"TOKEN": "hunter2"}, "unencrypted"),
    "both": (SAFE, {"TOKEN": "hunter2", "USER": "anna"}, "both"),
    "no_password": (SAFE, {"USER": "hunter2"}, "only one"),
    "no_user": (SAFE, {"PASSWORD": "hunter2"}, "only one"),
    "two_lines": (SAFE, {"TOKEN": "hunter2\r\nX-Evil: 1"}, "a character that no token has"),
    "colon": (SAFE, {"USER": "hunter2:", "PASSWORD": "hunter2"}, "colon"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_credentials_are_refused_and_not_repeated(name: str):
    address, values, message = WRONG[name]
    environment = {f"MEDSEG_DICOMWEB_{key}": value for key, value in values.items()}
    with pytest.raises(PacsError, match=message) as caught:
        authorization(address, environment)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
