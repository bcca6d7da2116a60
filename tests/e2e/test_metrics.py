"""Metrics and health of a real daemon, scraped over HTTP; and what the README and the alert rules say of them."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from canarysync.answers import Answer, NoAnswer
from canarysync.errors import Exit
from canarysync.listener import CONNECTIONS_MOST
from canarysync.sandbox import Sandbox
from canarysync.service import service
from tests.support import PATIENCE_S, Site, make_site, score, section, wait_for

ROOT = Path(__file__).parents[2]
SAMPLE = re.compile(r"^(\w+)(\{.*\})? (\S+)$", re.MULTILINE)


def get(netloc: str, path: str, method: str = "GET") -> tuple[int, str, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(netloc, timeout=PATIENCE_S)
    connection.request(method, path)
    response = connection.getresponse()
    return response.status, response.read().decode(), response


def samples(netloc: str) -> dict[str, float]:
    """name{labels}: value of each sample."""
    return {name + (labels or ""): float(value) for name, labels, value in SAMPLE.findall(get(netloc, "/metrics")[1])}


@contextmanager
def measured(site: Site) -> Iterator[str]:
    """The real daemon; gives host:port of its metrics."""
    process = site.start()
    try:
        wait_for(lambda: " watching " in site.log() or process.poll() is not None, "the daemon to watch")
        found = re.search(r"metrics are served url=(\S+)/metrics", site.log())
        assert found is not None, site.log()
        yield urlsplit(found[1]).netloc
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0, site.log()


@pytest.fixture
def site(tmp_path: Path, sandbox: Sandbox) -> Site:
    return make_site(tmp_path, sandbox.url, metrics__listen="127.0.0.1:0")


def test_a_day_in_the_life(site: Site, sandbox: Sandbox) -> None:
    files = 'canarysync_files_total{code="%s",outcome="%s",route="clinic"}'
    waiting = 'canarysync_files_waiting{route="clinic",state="%s"}'
    began = time.time()
    with measured(site) as netloc:
        assert samples(netloc)[files % ("syntax", "failed")] == 0, "a first failure is an increase"
        sandbox.faults.add("put:drop_before,times=1", "scores:status=403")
        site.put("held-visit.json", score(1))
        wait_for(lambda: samples(netloc)[waiting % "held"] == 1, "the score to be held")
        site.put("visit.json", score(2))
        site.put("twin.json", score(2))
        site.put("bad.json", "{")
        wait_for(lambda: len(site.filed()) == 2 and (site.failed / "bad.json").exists(), "all to be filed")
        wait_for(lambda: samples(netloc)[waiting % "new"] == 0, "their visits to end")
        sandbox.stop()
        site.put("late.json", score(3))
        wait_for(lambda: samples(netloc)["canarysync_api_usable"] == 0, "the outage to be noticed")
        found = samples(netloc)
        status, health, _ = get(netloc, "/healthz")

    assert found[files % ("", "uploaded")] == found[files % ("", "duplicate")] == 1
    assert found[files % ("syntax", "failed")] == 1
    assert found['canarysync_drop_to_done_seconds_count{route="clinic"}'] == 3
    assert 0 < found['canarysync_drop_to_done_seconds_sum{route="clinic"}'] < PATIENCE_S
    assert found['canarysync_requests_total{answer="no_answer",call="put_score"}'] == 1
    assert found['canarysync_requests_total{answer="200",call="put_score"}'] == 1
    assert found['canarysync_requests_total{answer="not_sent",call="put_score"}'] >= 1
    assert found['canarysync_requests_total{answer="200",call="token"}'] == 1
    assert found['canarysync_request_duration_seconds_count{call="put_score"}'] >= 3
    assert found[waiting % "held"] == found[waiting % "blocked"] == 1
    assert 0 <= found['canarysync_oldest_waiting_seconds{route="clinic"}'] < time.time() - began
    assert began < found['canarysync_last_scan_timestamp_seconds{route="clinic"}'] < time.time()
    assert found['canarysync_folder_present{route="clinic"}'] == found["canarysync_healthy"] == 1
    assert (status, health) == (200, "ok\nthe API cannot be used: no connection\n"), "no restart mends that"
    assert not re.search(r"visit|json|late\b|bad\b", " ".join(found)), "names of files are no labels"
    assert documented() == {re.sub(r"_(bucket|sum|count)$", "", name.partition("{")[0]) for name in found}


def documented() -> set[str]:
    """The metrics in the README's table."""
    rows = re.findall(r"^\| (`[^|]+) \|", section("Metrics and health"), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_the_alert_rules_ask_for_metrics_that_there_are() -> None:
    groups = yaml.safe_load((ROOT / "examples" / "alerts.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 5
    for rule in rules:
        assert set(re.findall(r"canarysync_\w+", rule["expr"])) <= documented(), rule["alert"]
        assert rule["annotations"].keys() == {"summary", "action"}


def test_a_folder_that_is_gone_is_told_and_is_no_illness(site: Site) -> None:
    with measured(site) as netloc:
        site.drop.rename(site.home / "unmounted")
        present = 'canarysync_folder_present{route="clinic"}'
        wait_for(lambda: samples(netloc)[present] == 0, "the folder to be missed")
        status, text, _ = get(netloc, "/healthz")
        assert status == 200
        assert re.fullmatch(r"ok\nclinic: .+\n", text)


def test_the_server_answers_what_it_knows_and_holds_nothing_up(site: Site) -> None:
    with measured(site) as netloc:
        status, text, response = get(netloc, "/metrics", "HEAD")
        assert (status, text) == (200, "")
        assert int(response.headers["Content-Length"]) > 1000
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert get(netloc, "/metrics?x=1")[0] == get(netloc, "/healthz", "HEAD")[0] == 200
        assert get(netloc, "/etc/passwd")[0] == get(netloc, "/")[0] == get(netloc, "/", "HEAD")[0] == 404
        status, _, response = get(netloc, "/metrics", "POST")
        assert (status, response.headers["Allow"]) == (405, "GET, HEAD")
        host, _, port = netloc.partition(":")
        idle = [socket.create_connection((host, int(port))) for _ in range(3 * CONNECTIONS_MOST)]
        idle[-1].settimeout(PATIENCE_S)
        assert idle[-1].recv(1) == b"", "one too many is hung up on"
        site.put("visit.json", score(1))
        wait_for(lambda: site.filed() == ["visit.json"], "a file, whatever the clients do")
        for connection in idle:
            connection.close()
        wait_for(lambda: answers(netloc), "the server to be free again")


def answers(netloc: str) -> bool:
    try:
        return get(netloc, "/healthz")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_a_loop_that_does_not_turn_is_ill(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, with a daemon that was not started: the server lives, and nobody answers it."""
    from canarysync import metrics

    monkeypatch.setattr(metrics, "PATIENCE_S", 0.05)
    port = free_port()
    config = make_site(site.home, site.config.api.url, metrics__listen=f"127.0.0.1:{port}").config
    with service(config, os.environ):
        status, text, _ = get(f"127.0.0.1:{port}", "/healthz")
        assert (status, text.partition(" (")[0]) == (503, "the loop does not turn")
        found = samples(f"127.0.0.1:{port}")
        assert found["canarysync_healthy"] == 0
        assert not [name for name in found if name.startswith("canarysync_folder_present")], "nothing stale is told"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_port_that_is_taken_stops_the_start(tmp_path: Path, sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        site = make_site(tmp_path, sandbox.url, metrics__listen=address)
        ended = site.cli("run", "-c", str(site.config_path))
        assert ended.returncode == Exit.TRY_AGAIN
        assert f"cannot listen for metrics on {address}: Address already in use" in ended.stderr
        assert "metrics.listen" in ended.stderr
        assert site.cli("run-once", "-c", str(site.config_path)).returncode == Exit.OK, "that serves none"


def test_without_metrics_their_library_is_not_even_loaded() -> None:
    code = "import sys, canarysync.service, canarysync.cli; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=PATIENCE_S).returncode == 0


def test_answers_of_odd_servers_make_no_endless_labels() -> None:
    from canarysync.metrics import Meter

    meter = Meter()
    for status in range(1000):
        meter.requested("put-score", Answer(status), 0.1)
        meter.requested(f"path-{status}", NoAnswer(sent=True, reason=f"reason {status}"), 0.1)
    text = meter.page(None).body.decode()
    assert text.count("canarysync_requests_total{") == 500 + 1 + 1
