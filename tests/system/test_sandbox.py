"""The simulated API over real sockets: each endpoint, each fault, restarts, and many clients at once."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from canarysync.errors import SetupError
from canarysync.sandbox import SANDBOX_API_KEY, Endpoint, Fault, Kind, Sandbox

ASSESSMENT = "0192530c-4ce5-7aa1-be9b-bc52dec8a184"
BODY = (
    b'{"dateRecorded": "2026-01-01T13:00:00.123987+01:00", "scoreId": "PHQ9", "scoreType": "sum",'
    b' "scoreData": {"value": 1.10, "big": 12345678901234567890123456789, "whole": 12.0}, "extraData": {}}'
)
PUT = f"/v2/org/assessment/{ASSESSMENT}/put-score"
SCORES = f"/v2/org/assessment/{ASSESSMENT}/get-scores"
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One keep-alive connection. It connects again by itself after the server hung up."""

    def __init__(self, sandbox: Sandbox, timeout_s: float = 10) -> None:
        self.token = sandbox.access_token()
        self._http = http.client.HTTPConnection("127.0.0.1", port_of(sandbox), timeout=timeout_s)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            self._http.request(method, path, body, {"Authorization": f"Bearer {self.token}", **JSON, **named})
            response = self._http.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        except (OSError, http.client.HTTPException):
            self._http.close()
            raise

    def put(self, body: bytes = BODY, **headers: str) -> Reply:
        return self.ask("PUT", PUT, body, **headers)

    def close(self) -> None:
        self._http.close()


def port_of(sandbox: Sandbox) -> int:
    return int(sandbox.url.rpartition(":")[2])


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    connected = Client(sandbox)
    yield connected
    connected.close()


# --- put-score, get-scores, score -----------------------------------------------------------------


def test_a_score_is_kept_byte_for_byte_and_read_back_as_it_was_written(sandbox: Sandbox, client: Client) -> None:
    uuid = client.put().json["uuid"]
    assert [(score.uuid, score.assessment_id, score.body) for score in sandbox.scores] == [(uuid, ASSESSMENT, BODY)]
    reply = client.ask("GET", SCORES)
    assert b'"value": 1.10, "big": 12345678901234567890123456789, "whole": 12.0' in reply.body
    shown = {"uuid": uuid, "assessmentUUIDs": [ASSESSMENT], **json.loads(BODY)}
    assert reply.json == {"scores": [shown]}
    assert client.ask("GET", f"/v2/org/score/{uuid}").json == shown


def test_a_repeated_put_makes_a_second_score(sandbox: Sandbox, client: Client) -> None:
    assert client.put().json["uuid"] != client.put().json["uuid"]
    assert len(client.ask("GET", SCORES).json["scores"]) == 2


def test_an_assessment_is_the_same_in_upper_case(client: Client) -> None:
    client.ask("PUT", PUT.replace(ASSESSMENT, ASSESSMENT.upper()), BODY)
    assert len(client.ask("GET", SCORES).json["scores"]) == 1


def test_what_is_not_there(client: Client) -> None:
    assert client.ask("GET", SCORES).json == {"scores": []}
    assert client.ask("GET", f"/v2/org/score/{ASSESSMENT}").status == 404
    assert client.ask("GET", "/v2/org/nothing").status == 404
    assert client.ask("POST", PUT).status == 405


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1]",
        b'{"dateRecorded"',
        BODY.replace(b'"sum"', b'"sum", "scoreType": "sum"'),
        BODY.replace(b"1.10", b"NaN"),
        BODY.replace(b'"scoreId": "PHQ9",', b""),
        BODY.replace(b'"value"', b'"valeu"'),
        BODY.replace(b"2026-01-01", b"2026-02-30"),
        BODY.replace(b"{", b'{"assessmentId": "%s",' % ASSESSMENT.encode(), 1),
    ],
    ids=[
        "empty",
        "array",
        "cut",
        "duplicate key",
        "NaN",
        "no scoreId",
        "no value",
        "no such day",
        "id in the body",
    ],
)
def test_a_body_against_the_contract_is_refused(sandbox: Sandbox, client: Client, body: bytes) -> None:
    reply = client.put(body)
    assert reply.status == 400
    assert reply.json["error"]["message"]
    assert sandbox.scores == ()


def test_a_refusal_lists_the_problems_and_quotes_no_value(client: Client) -> None:
    reply = client.put(BODY.replace(b'"scoreId": "PHQ9",', b"").replace(b"2026-01-01", b"2026-02-30"))
    assert len(reply.json["error"]["problems"]) == 2
    assert b"2026-02-30" not in reply.body


def test_an_assessment_id_has_to_be_a_uuid(client: Client) -> None:
    assert client.ask("PUT", "/v2/org/assessment/abc123/put-score", BODY).status == 400
    assert client.ask("PUT", PUT.replace(ASSESSMENT, "%00%2F"), BODY).status == 400


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_put_score_takes_json_that_says_so(client: Client, content_type: str) -> None:
    assert client.put(Content_Type=content_type).status == 415
    assert client.put(Content_Type="Application/JSON; charset=utf-8").status == 200


def test_a_normalising_sandbox_keeps_values_not_spellings() -> None:
    with Sandbox(normalise=True) as sandbox:
        client = Client(sandbox)
        client.put()
        client.put(BODY.replace(b', "extraData": {}', b"").replace(b"+01:00", b"z"))
        first, second = client.ask("GET", SCORES).json["scores"]
        client.close()
    assert first["dateRecorded"] == "2026-01-01T12:00:00.123Z"
    assert "extraData" not in first
    assert second["dateRecorded"] == "2026-01-01T13:00:00.123Z"
    assert second["extraData"] == {}
    assert json.dumps(first["scoreData"]) == '{"value": 1.1, "big": 1.2345678901234568e+28, "whole": 12}'
    assert sandbox.scores[0].body == BODY


# --- Tokens ---------------------------------------------------------------------------------------


def get_tokens(client: Client, key: str = SANDBOX_API_KEY) -> Reply:
    return client.ask("POST", "/v3/auth/tokens/get", b"{}", Csc_Api_Key=key)


def refresh(client: Client, token: str) -> Reply:
    return client.ask("POST", "/v3/auth/tokens/refresh", Csc_Refresh_Token=token)


def test_the_api_key_gives_tokens_that_work(client: Client) -> None:
    tokens = get_tokens(client).json
    assert tokens.keys() == {"accessToken", "refreshToken", "identityIds"}
    client.token = tokens["accessToken"]
    assert client.put().status == 200


@pytest.mark.parametrize("key", ["", "5A4DB0:d3Jvbmc=", "\u00e9"])
def test_a_wrong_api_key_is_refused(client: Client, key: str) -> None:
    assert get_tokens(client, key).status == 401


def test_the_token_request_is_json(client: Client) -> None:
    asked = client.ask("POST", "/v3/auth/tokens/get", b"{}", Csc_Api_Key=SANDBOX_API_KEY, Content_Type="text/plain")
    assert asked.status == 415


def test_a_refresh_token_works_once(client: Client) -> None:
    first = get_tokens(client).json["refreshToken"]
    renewed = refresh(client, first)
    assert renewed.status == 200
    assert refresh(client, first).status == 401
    assert refresh(client, renewed.json["refreshToken"]).status == 200
    assert refresh(client, "unknown").status == 401


def test_tokens_expire_when_they_say_so() -> None:
    now_s = [1_800_000_000.0]
    with Sandbox(token_life_s=60, clock=lambda: now_s[0]) as sandbox:
        client = Client(sandbox)
        tokens = get_tokens(client).json
        client.token = tokens["accessToken"]
        claims = json.loads(base64.urlsafe_b64decode(client.token.split(".")[1] + "=="))
        assert claims["exp"] - claims["iat"] == 60
        now_s[0] += 59
        assert client.put().status == 200
        now_s[0] += 1
        assert client.put().status == 401
        now_s[0] += 30 * 86_400
        assert refresh(client, tokens["refreshToken"]).status == 401
        client.close()


def test_bad_bearer_tokens(sandbox: Sandbox, client: Client) -> None:
    head, claims, signature = client.token.split(".")
    eternal = base64.urlsafe_b64encode(b'{"exp": 9999999999, "scope": "scope:api"}').rstrip(b"=").decode()
    for bad in [
        "",
        "x",
        f"{head}.{eternal}.{signature}",
        f"{head}.{claims}.",
        sandbox.access_token(life_s=-1),
    ]:
        reply = client.put(Authorization=f"Bearer {bad}")
        assert reply.status == 401
        assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert client.put(Authorization=f"Basic {client.token}").status == 401
    assert client.put(Authorization=f"Bearer {sandbox.access_token(scope='scope:other')}").status == 403
    assert sandbox.scores == ()


def test_revoked_tokens(sandbox: Sandbox, client: Client) -> None:
    token = get_tokens(client).json["refreshToken"]
    sandbox.revoke_tokens()
    assert client.put().status == 401
    pair = refresh(client, token).json
    sandbox.revoke_tokens(refresh_too=True)
    assert refresh(client, pair["refreshToken"]).status == 401


# --- Faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "put:status=503,retry_after=2,rate=0.1",
            Fault(Endpoint.PUT, Kind.STATUS, status=503, retry_after="2", rate=0.1),
        ),
        ("put:drop_after,times=3", Fault(Endpoint.PUT, Kind.DROP_AFTER, times=3)),
        ("any:delay=0.2", Fault(None, Kind.DELAY, delay_s=0.2)),
        ("scores:html, status=404, skip=1, seed=7", Fault(Endpoint.SCORES, Kind.HTML, 404, skip=1, seed=7)),
        (
            "put:status=429,retry_after=Wed, 21 Oct 2026 07:28:00 GMT,times=1",
            Fault(Endpoint.PUT, Kind.STATUS, 429, "Wed, 21 Oct 2026 07:28:00 GMT", times=1),
        ),
        (
            "put:status_after,status=500,delay=1",
            Fault(Endpoint.PUT, Kind.STATUS_AFTER, status=500, delay_s=1),
        ),
    ],
)
def test_a_fault_in_words(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "put:status=503"),
        ("putt:drop_after", "put, scores, score, token, refresh or any"),
        ("put:", "drop_before"),
        ("put:explode", "drop_before"),
        ("put:cut,html", "drop_before"),
        ("put:rate=1", "drop_before"),
        ("put:status=99", "200 to 599"),
        ("put:cut,rate=2", "from 0 to 1"),
        ("put:cut,rate=nan", "from 0 to 1"),
        ("put:cut,often=2", "retry_after"),
        ("put:cut,times=1.5", "whole number"),
    ],
)
def test_a_fault_in_wrong_words(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Fault.parse(text)


@pytest.mark.parametrize(
    ("text", "status", "body", "kept"),
    [
        ("put:status=503", 503, b'{"error"', 0),
        ("put:status=418", 418, b'{"error"', 0),
        ("put:status=599", 599, b'{"error"', 0),
        ("put:status_after,status=500", 500, b'{"error"', 1),
        ("put:html", 403, b"<!doctype html>", 0),
        ("put:garbage", 200, b'{"uuid": "\xff', 1),
        ("put:no_uuid", 200, b"{}", 1),
        ("put:expired", 401, b'{"error"', 0),
        ("any:delay=0.01", 200, b'{"uuid"', 1),
        ("any:delay_after,delay=0.01", 200, b'{"uuid"', 1),
    ],
)
def test_a_fault_that_answers(sandbox: Sandbox, client: Client, text: str, status: int, body: bytes, kept: int) -> None:
    sandbox.faults.add(text)
    reply = client.put()
    assert reply.status == status
    assert reply.body.startswith(body)
    assert len(sandbox.scores) == kept
    assert sandbox.requests == {("put", status): 1}


def test_the_headers_of_faults(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.add("put:status=503,retry_after=2,times=1", "put:status=302,times=1", "put:html,times=1")
    assert client.put().headers["Retry-After"] == "2"
    assert client.put().headers["Location"]
    assert client.put().headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    ("text", "error", "kept"),
    [
        ("put:drop_before", http.client.RemoteDisconnected, 0),
        ("put:drop_after", http.client.RemoteDisconnected, 1),
        ("put:cut", http.client.IncompleteRead, 1),
        ("put:reset_before", ConnectionResetError, 0),
        ("put:reset_after", ConnectionResetError, 1),
    ],
)
def test_a_fault_that_hangs_up(sandbox: Sandbox, client: Client, text: str, error: type[Exception], kept: int) -> None:
    sandbox.faults.add(f"{text},times=1")
    with pytest.raises(error) as raised:
        client.put()
    assert type(raised.value) is error  # RemoteDisconnected (a FIN) is a ConnectionResetError too
    assert len(sandbox.scores) == kept
    assert sandbox.requests == {("put", 0): 1}
    assert client.put().status == 200


def test_a_late_answer_comes_late(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.add("put:delay=0.03", "any:delay=0.03", "put:status=503", "put:delay=0.03", "scores:delay=60")
    began_s = time.monotonic()
    assert client.put().status == 503
    assert 0.09 <= time.monotonic() - began_s < 30


def test_a_client_that_gave_up_may_have_its_score_all_the_same(sandbox: Sandbox) -> None:
    Client(sandbox).put()
    sandbox.faults.add("put:delay_after,delay=3600")
    with pytest.raises(TimeoutError):
        Client(sandbox, timeout_s=0.3).put()
    assert len(sandbox.scores) == 2


def test_skip_times_and_endpoint(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.add(Fault(Endpoint.PUT, Kind.STATUS, skip=1, times=2))
    assert client.ask("GET", SCORES).status == 200
    assert [client.put().status for _ in range(5)] == [200, 503, 503, 200, 200]


def test_rate_is_drawn_from_a_seed(sandbox: Sandbox, client: Client) -> None:
    def statuses(text: str) -> list[int]:
        sandbox.faults.replace(text)
        return [client.ask("GET", SCORES).status for _ in range(40)]

    drawn = statuses("scores:status=500,rate=0.5,seed=1")
    assert 10 < drawn.count(500) < 30
    assert statuses("scores:status=500,rate=0.5,seed=1") == drawn
    assert statuses("scores:status=500,rate=0.5,seed=2") != drawn
    assert 500 not in statuses("scores:status=500,rate=0")


def test_cleared_faults_are_over(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.add("any:status=500")
    sandbox.faults.clear()
    assert client.put().status == 200


# --- The sandbox's own endpoints ------------------------------------------------------------------


def test_faults_are_set_over_http(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.add("put:html")
    assert client.ask("POST", "/sandbox/faults", b'["put:status=507", "any:delay=0"]').status == 200
    assert client.put().status == 507
    for wrong in (b"", b"{}", b"[1]", b'["put:status=500", "put:explode"]'):
        assert client.ask("POST", "/sandbox/faults", wrong).status == 400
    assert client.put().status == 507
    client.ask("POST", "/sandbox/faults", b"[]")
    assert client.put().status == 200


def test_scores_tokens_and_counters_over_http(client: Client) -> None:
    uuid = client.put().json["uuid"]
    kept = client.ask("GET", "/sandbox/scores").json
    assert kept == {"scores": [{"uuid": uuid, "assessmentId": ASSESSMENT, "body": BODY.decode()}]}
    client.ask("POST", "/sandbox/revoke")
    assert client.put().status == 401
    counters = client.ask("GET", "/sandbox/requests").json
    assert counters == {"counts": {"put": {"200": 1, "401": 1}}, "maxInFlight": 1, "connections": 1}


def test_the_log_names_endpoints_only(capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with Sandbox(log=lines.append) as sandbox:
        client = Client(sandbox)
        client.put()
        client.ask("GET", "/sandbox/scores")
        client.close()
    assert lines == ["PUT put 200 whole", "GET sandbox 200 whole"]
    assert capfd.readouterr() == ("", "")


# --- HTTP -----------------------------------------------------------------------------------------


def send_raw(sandbox: Sandbox, data: bytes) -> bytes:
    """What comes back for ``data``, up to the end of the connection."""
    with socket.create_connection(("127.0.0.1", port_of(sandbox)), timeout=10) as raw:
        raw.sendall(data)
        raw.shutdown(socket.SHUT_WR)
        with raw.makefile("rb") as answer:
            return answer.read()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Transfer-Encoding: chunked", b"411"),
        (b"Content-Length: -1", b"400"),
        (b"Content-Length: 99999999999999999999", b"413"),
    ],
)
def test_a_body_of_no_known_length_ends_the_connection(sandbox: Sandbox, head: bytes, status: bytes) -> None:
    answer = send_raw(sandbox, b"PUT " + PUT.encode() + b" HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in answer
    assert b'{"error"' in answer


def test_a_request_that_breaks_off_is_not_carried_out(sandbox: Sandbox, client: Client) -> None:
    head = f"PUT {PUT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(BODY) + 1}\r\n\r\n"
    assert send_raw(sandbox, head.encode() + BODY) == b""
    assert sandbox.requests == {}


def test_a_client_may_ask_before_it_sends_the_body(sandbox: Sandbox, client: Client) -> None:
    head = f"PUT {PUT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\nExpect: 100-continue\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port_of(sandbox)), timeout=10) as raw:
        raw.sendall(head.encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 100")
        raw.sendall(BODY)
        assert raw.recv(100).startswith(b"HTTP/1.1 200")


def test_one_connection_serves_many_requests_of_all_outcomes(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.add("put:status=503,times=1", "put:html,times=1")
    statuses = [client.put(body).status for body in (BODY, BODY, b"{}", BODY)] + [client.ask("GET", "/x").status]
    assert statuses == [503, 403, 400, 200, 404]
    assert client.ask("GET", "/sandbox/requests").json["connections"] == 1


def test_many_clients_at_once(sandbox: Sandbox) -> None:
    def put_fifty(thread: int) -> list[str]:
        client = Client(sandbox)
        bodies = [BODY.replace(b"PHQ9", f"PHQ9-{thread}-{number}".encode()) for number in range(50)]
        uuids = [client.put(body).json["uuid"] for body in bodies]
        client.close()
        return uuids

    with ThreadPoolExecutor(8) as pool:
        answered = [uuid for uuids in pool.map(put_fifty, range(8)) for uuid in uuids]
    assert len(set(answered)) == 400
    assert {score.uuid for score in sandbox.scores} == set(answered)
    assert len({score.body for score in sandbox.scores}) == 400


# --- Starting, stopping, keeping ------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org", ""])
def test_only_loopback_is_served(host: str) -> None:
    with pytest.raises(SetupError):
        Sandbox(host=host)


def test_localhost_is_loopback() -> None:
    with Sandbox(host="localhost") as sandbox:
        assert sandbox.url.startswith("http://127.0.0.1:")


def test_a_port_that_is_taken(sandbox: Sandbox) -> None:
    second = Sandbox(port=port_of(sandbox))
    with pytest.raises(SetupError) as raised:
        second.start()
    assert raised.value.hint
    second.stop()


def test_a_stop_ends_idle_and_waiting_connections_and_the_port_can_be_taken_again(sandbox: Sandbox) -> None:
    sandbox.faults.add("put:delay=3600")
    idle, waiting = Client(sandbox), Client(sandbox)
    with ThreadPoolExecutor(1) as pool:
        put = pool.submit(waiting.put)
        assert any(idle.ask("GET", "/sandbox/requests").json["maxInFlight"] for _ in range(10_000))
        assert not sandbox.wait(timeout_s=0)
        sandbox.stop()
        assert sandbox.wait()
        with pytest.raises(http.client.RemoteDisconnected):
            put.result(timeout=10)
    with pytest.raises(ConnectionError):
        idle.ask("GET", SCORES)
    assert sandbox.scores == ()
    url = sandbox.url
    sandbox.start()
    assert sandbox.url == url
    assert idle.ask("GET", SCORES).status == 200


def test_restarts_under_load_lose_nothing_that_was_answered(tmp_path: Path) -> None:
    store = tmp_path / "scores.jsonl"
    sandbox = Sandbox(store_path=store)
    sandbox.start()
    answered, over, progress = set[str](), threading.Event(), threading.Semaphore(0)

    def put_until_over() -> None:
        client = Client(sandbox)
        while not over.is_set():
            try:
                answered.add(client.put().json["uuid"])
                progress.release()
            except (OSError, http.client.HTTPException):
                continue
        client.close()

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(put_until_over) for _ in range(4)]
        for _ in range(4):
            alive = all(progress.acquire(timeout=10) for _ in range(20))
            sandbox.stop()
            sandbox.start()
        over.set()
    sandbox.stop()
    assert alive
    assert [client.result() for client in clients] == [None] * 4
    assert answered <= {score.uuid for score in sandbox.scores}
    with Sandbox(port=port_of(sandbox), store_path=store) as next_process:
        assert next_process.scores == sandbox.scores


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    store = tmp_path / "scores.jsonl"
    for _ in range(2):
        with Sandbox(store_path=store) as sandbox:
            Client(sandbox).put()
        with store.open("ab") as file:
            file.write(b'{"uuid": "0192')
    assert len(Sandbox(store_path=store).scores) == 2


@pytest.mark.parametrize("content", [b"{}\n", b"[]\n", b"x\n", b"x", b'{"uuid": "", "assessmentId": "", "body": 3}\n'])
def test_a_store_that_no_sandbox_wrote(tmp_path: Path, content: bytes) -> None:
    store = tmp_path / "scores.jsonl"
    store.write_bytes(content)
    with pytest.raises(SetupError):
        Sandbox(store_path=store)
    assert store.read_bytes() == content


def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(SetupError):
        Sandbox(store_path=tmp_path / "missing" / "scores.jsonl")
