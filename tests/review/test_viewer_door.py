"""Who gets in, from where, and what every answer tells the browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient
from viewer_parts import BASE, OURS, cases_by_name, viewing

from medseg.review.viewer.access import Access, Guesses, Hosts, Sessions, host_name
from medseg.review.viewer.settings import Settings

PASSWORD = "correct horse"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_token_opens_a_session_and_leaves_the_address(tmp_path: Path):
    with viewing(tmp_path, cookie=False) as (client, viewer):
        assert client.get("/api/cases").status_code == 401
        answer = client.get(f"/?token={viewer.access.token}", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "path=/" in cookie
        assert str(viewer.access.token) not in answer.headers["set-cookie"]
        assert client.get("/api/cases").status_code == 200
        assert client.get("/").status_code == 200


def test_a_link_on_another_page_opens_a_session_that_works_at_once(tmp_path: Path):
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    with viewing(tmp_path, cookie=False) as (client, viewer):
        answer = client.get(f"/?token={viewer.access.token}", headers=followed, follow_redirects=False)
        # the page goes on by itself: a SameSite=Strict cookie does not go with a redirect of a foreign request
        assert (answer.status_code, answer.headers["refresh"]) == (200, "0; url=/")
        assert client.get("/api/state").status_code == 200


def test_the_token_that_opens_the_browser_works_once(tmp_path: Path):
    with viewing(tmp_path, cookie=False) as (client, viewer):
        token = viewer.access.one_time_token()
        codes = [client.get(f"/?token={token}", follow_redirects=False).status_code for _ in range(2)]
        assert codes == [303, 403]
        assert client.get(f"/?token={viewer.access.token}", follow_redirects=False).status_code == 303


@pytest.mark.parametrize("token", ["", "wrong", "é"], ids=["empty", "wrong", "not ascii"])
def test_another_token_opens_nothing(tmp_path: Path, token: str):
    with viewing(tmp_path, cookie=False) as (client, _):
        answer = client.get("/", params={"token": token}, follow_redirects=False)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/", "/api/state", "/api/cases", "/api/jobs", "/api/export", "/static/index.html", "/docs", "/nowhere"]
)
def test_nothing_but_the_door_answers_without_a_session(tmp_path: Path, path: str):
    with viewing(tmp_path, cookie=False) as (client, viewer):
        client.cookies.set(viewer.access.cookie, "made up")
        assert client.get(path, follow_redirects=False).status_code == 401
        assert client.get("/healthz").text == "ok\n"


def test_signing_out_ends_the_session(tmp_path: Path):
    with viewing(tmp_path) as (client, _):
        cookies = dict(client.cookies)
        assert client.post("/logout", headers=OURS).status_code == 204
        client.cookies.clear()
        client.cookies.update(cookies)
        assert client.get("/api/state").status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8765", 200),
        ("localhost:9000", 200),
        ("[::1]:8765", 200),
        ("evil.example:8765", 421),
        ("127.0.0.1.evil.example", 421),
        ("192.168.0.7:8765", 421),
        ("", 421),
    ],
)
def test_only_its_own_names_are_answered(tmp_path: Path, host: str, status: int):
    with viewing(tmp_path) as (client, _):
        assert client.get("/api/state", headers={"Host": host}).status_code == status
        assert client.get("/healthz", headers={"Host": host}).status_code == status


def test_on_an_address_that_others_reach_numbers_and_given_names_are_answered():
    hosts = Hosts(Settings(host="0.0.0.0", names=("Ward7.example",)))
    answered = {
        name: hosts.allow(name)
        for name in ("192.168.0.7:80", "[fe80::1]:80", "ward7.example:8765", "localhost", "evil.example", "0x7f.1")
    }
    assert [name for name, allowed in answered.items() if not allowed] == ["evil.example", "0x7f.1"]


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("a.example:80", "a.example"),
        ("A.Example", "a.example"),
        ("[::1]:80", "::1"),
        ("[::1]", "::1"),
        ("[::1", ""),
        ("[::1]evil", ""),
        ("a:80@evil.example", ""),
        ("a:", ""),
        ("a:8b", ""),
    ],
)
def test_a_host_header_is_taken_apart(header: str, name: str):
    assert host_name(header) == name


FOREIGN = {
    "no origin": {"X-Medseg": "1"},
    "another origin": {"Origin": "http://evil.example", "X-Medseg": "1"},
    "another port": {"Origin": "http://127.0.0.1:3000", "X-Medseg": "1"},
    "null origin": {"Origin": "null", "X-Medseg": "1"},
    "no header of ours": {"Origin": BASE},
    "a site on this computer": {**OURS, "Sec-Fetch-Site": "same-site"},
    "another site": {**OURS, "Sec-Fetch-Site": "cross-site"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_no_other_page_changes_anything(folder: Path, tmp_path: Path, headers: dict[str, str]):
    with viewing(tmp_path, folder=folder) as (client, _):
        url = f"/api/cases/{cases_by_name(client)['case_0']['id']}/review"
        answer = client.put(url, headers=headers, json={"status": "accepted"})
        assert (answer.status_code, (folder / "review.json").exists()) == (403, False)
        assert client.put(url, headers=OURS, json={"status": "accepted"}).status_code == 200


def test_no_other_page_reads_anything(tmp_path: Path):
    with viewing(tmp_path) as (client, _):
        for headers in (
            {"Origin": "http://evil.example"},
            {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
        ):
            assert client.get("/api/cases", headers=headers).status_code == 403
        # a link to the viewer on another page may be followed
        linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert client.get("/", headers=linked).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/state", "/static/login.js", "/nowhere", "/healthz"])
def test_every_answer_has_the_headers(tmp_path: Path, path: str):
    with viewing(tmp_path) as (client, _):
        headers = client.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == ("no-cache" if path.startswith("/static/") else "no-store")
    assert "server" not in headers


def test_a_bug_of_ours_answers_with_the_headers_too_and_tells_nothing(tmp_path: Path):
    with viewing(tmp_path) as (client, viewer):
        viewer.state = lambda: 1 / 0  # type: ignore[method-assign, assignment]
        answer = client.get("/api/state")
    assert (answer.status_code, answer.headers["x-content-type-options"]) == (500, "nosniff")
    assert "ZeroDivision" not in answer.text


def test_with_a_password_there_is_no_token_and_the_page_asks(tmp_path: Path):
    with viewing(tmp_path, cookie=False, password=PASSWORD) as (client, viewer):
        assert viewer.access.token is None
        assert client.get("/?token=None", follow_redirects=False).status_code == 403
        first = client.get("/", follow_redirects=False)
        assert (first.status_code, first.headers["location"]) == (303, "/login")
        assert "password" in client.get("/login").text
        assert client.post("/login", headers=OURS, json={"password": "guess"}).status_code == 403
        assert client.get("/api/state").status_code == 401
        assert client.post("/login", headers=OURS, json={"password": PASSWORD}).status_code == 204
        assert client.get("/api/state").json()["login"] is True


def test_wrong_passwords_are_slowed_down_and_then_not_even_looked_at(tmp_path: Path):
    with viewing(tmp_path, cookie=False, password=PASSWORD) as (client, viewer):
        clock = Clock()
        viewer.access.guesses = Guesses(clock=clock)

        def guess(text: str) -> int:
            return client.post("/login", headers=OURS, json={"password": text}).status_code

        assert [guess("wrong") for _ in range(4)] == [403] * 4
        assert guess(PASSWORD) == 429  # right, but not looked at
        clock.now += 1.1
        assert guess("wrong") == 403
        clock.now += 1.1
        assert guess(PASSWORD) == 429
        clock.now += 1.0
        assert guess(PASSWORD) == 204


def test_the_wait_doubles_up_to_five_minutes_for_each_client_alone():
    clock = Clock()
    guesses = Guesses(clock=clock)
    waits = []
    for _ in range(14):
        guesses.wrong("one")
        waits.append(guesses.wait_seconds("one"))
    assert waits == [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert guesses.wait_seconds("another") == 0
    guesses.right("one")
    assert guesses.wait_seconds("one") == 0


def test_a_session_that_is_idle_for_half_a_day_ends():
    clock = Clock()
    sessions = Sessions(clock=clock)
    value = sessions.open()
    clock.now += 11 * 3600
    assert sessions.knows(value)
    clock.now += 11 * 3600
    assert sessions.knows(value)  # it was used in between
    clock.now += 12 * 3600 + 1
    assert not sessions.knows(value)
    assert not sessions.knows(None)


def test_the_cookies_of_two_viewers_do_not_get_into_each_others_way():
    names = {Access(Settings(port=port)).cookie for port in (8765, 8766)}
    assert len(names) == 2


def test_a_body_that_is_no_file_is_small_even_if_its_length_is_not_told(tmp_path: Path):
    def endless() -> object:
        yield b'{"password": "'
        for _ in range(3):
            yield b"x" * 65536

    with viewing(tmp_path, cookie=False, password=PASSWORD) as (client, _):
        headers = {**OURS, "Content-Type": "application/json"}
        long = client.post("/login", headers=headers, content=b"x" * 70_000)
        hidden = client.post("/login", headers=headers, content=endless())
    assert long.status_code == 413
    assert hidden.status_code in (400, 413)


def test_two_browsers_have_a_session_each(tmp_path: Path):
    with viewing(tmp_path, cookie=False) as (client, viewer):
        other = TestClient(client.app, base_url=BASE)
        for one in (client, other):
            assert one.get(f"/?token={viewer.access.token}").status_code == 200
        cookies = {str(one.cookies[viewer.access.cookie]) for one in (client, other)}
        assert len(cookies) == 2
        client.post("/logout", headers=OURS)
        assert other.get("/api/state").status_code == 200
