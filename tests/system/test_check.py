"""`check`: whatever keeps a run from its work is found, told with what to do, and keeps nothing else from it."""

from __future__ import annotations

import grp
import json
import os
import re
import shlex
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from canarysync import units
from canarysync.check import Finding, Grade, check
from canarysync.check.findings import guarded, ok
from canarysync.folder import take
from canarysync.sandbox import Sandbox
from canarysync.views_check import finding_lines
from tests.support import Site, make_site, score


def found(site: Site, clock_off_s: float = 0.0, **environment: str) -> dict[str, Finding]:
    """The findings by their subjects; of several with one subject, the worst."""
    findings = list(check(site.config, environment, lambda: datetime.now(UTC) + timedelta(seconds=clock_off_s)))
    assert all(finding.remedy for finding in findings if finding.grade is not Grade.OK)
    return {f.subject: f for f in sorted(findings, key=lambda f: list(Grade).index(f.grade))}


def bad(findings: Mapping[str, Finding]) -> dict[str, str]:
    return {subject: str(finding.grade) for subject, finding in findings.items() if finding.grade is not Grade.OK}


def test_all_is_well_before_and_after_a_first_run(site: Site) -> None:
    assert bad(found(site)) == {}
    site.put("visit.json", score(1))
    site.once()
    after = found(site)
    assert bad(after) == {}
    assert after["token"].text == "got, lives 15 min"
    assert after["marker"].text == "ours"


@pytest.mark.parametrize(("off_s", "grade"), [(20, None), (-60, "warning"), (400, "problem")])
def test_the_clock(site: Site, off_s: float, grade: str | None) -> None:
    assert bad(found(site, off_s)).get("clock") == grade


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("score:status=403", {"API": "problem"}),
        ("score:status=401", {"API": "problem"}),
        ("score:status=302", {"API": "problem"}),
        ("scores:status=405", {"read-back": "warning"}),
        ("token:status=401", {"token": "problem"}),
    ],
)
def test_an_api_that_does_not_let_us(site: Site, sandbox: Sandbox, fault: str, expected: dict[str, str]) -> None:
    sandbox.faults.replace(fault)
    assert bad(found(site)) == expected


def test_a_systemd_credential_is_not_to_be_seen_by_hand(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_site(tmp_path, sandbox.url, api__api_key={"credential": "api-key"})

    by_hand = found(site)
    by_systemd = found(site, CREDENTIALS_DIRECTORY=str(tmp_path))

    assert bad(by_hand) == {"API key": "warning"}
    remedy = shlex.split(by_hand["API key"].remedy)
    assert f"LoadCredential=api-key:{site.config_path.with_name('api-key')}" in remedy
    called = [*units.running_program().words, "check", "-c", str(site.config_path)]
    assert remedy[-len(called) :] == called
    assert Path(called[0]).is_absolute(), "systemd-run knows no PATH of ours"
    assert by_hand["API"].text.endswith(" answers"), "what needs no secret is looked at"
    assert bad(by_systemd) == {}


def test_a_key_that_its_group_reads_is_well_and_one_that_everybody_reads_is_not(site: Site) -> None:
    key = site.home / "api-key"
    key.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(key, 0, 12345)  # root's, and the service's group reads it: chmod 600 would stop the service
    assert bad(found(site)) == {}

    key.chmod(0o644)
    told = found(site)
    assert bad(told) == {"API key": "warning"}
    assert told["API key"].remedy == f"chmod o= {key}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_key_that_another_group_reads_is_told(site: Site) -> None:
    key = site.home / "api-key"
    key.chmod(0o640)
    os.chown(key, 12345, 12345)
    remedies = [finding.remedy for finding in check(site.config, {}, lambda: datetime.now(UTC))]
    assert f"chmod g= {key}" in remedies


def test_a_proxy_is_shown_without_its_password(tmp_path: Path) -> None:
    site = make_site(tmp_path, "https://api.invalid", api__timeout__connect="1s")
    told = found(site, HTTPS_PROXY="http://user:geheim@127.0.0.1:9", SSL_CERT_FILE="/etc/ca.pem")
    assert told["proxy"].text.startswith("http://…@127.0.0.1:9 (by HTTPS_PROXY")
    assert bad(told) == {"CA bundle": "warning", "TLS": "problem", "API": "problem"}
    assert not any("geheim" in finding.text + finding.remedy for finding in told.values())


# --- folders ---------------------------------------------------------------------------------------


def test_whom_the_folders_let_in(site: Site) -> None:
    site.failed.chmod(0o755)
    everybody = found(site)
    text = site.config_path.read_text()
    site.config_path.write_text(re.sub("# group: .*", f"group: {grp.getgrgid(os.getegid()).gr_name}", text))
    site.failed.chmod(0o2700)
    nobody = found(site)
    site.config_path.write_text(re.sub("# group: .*", "group: no-such-group", text))
    no_group = found(site)

    assert bad(everybody) == bad(nobody) == {"failed": "warning"}
    assert everybody["failed"].remedy == f"chmod o= {site.failed}"
    assert f"chmod 2750 {site.failed}" in nobody["failed"].remedy
    assert bad(no_group) == {"drop": "problem", "done": "problem", "failed": "problem"}


def test_one_folder_that_is_bad_keeps_no_other_from_being_looked_at(site: Site) -> None:
    site.done.rmdir()
    site.failed.rmdir()
    site.failed.write_text("no folder")
    told = found(site)
    assert bad(told) == {"done": "problem", "failed": "problem"}
    assert {"drop", "marker", "watch", "API"} <= told.keys()


@contextmanager
def another_at_work(site: Site) -> Iterator[None]:
    lock = take(site.config.routes[0], None)
    try:
        yield
    finally:
        lock.release()


def test_whose_folder_it_is(site: Site) -> None:
    site.once()
    (site.home / "state").rename(site.home / "lost")
    lost = found(site)
    with another_at_work(site):
        held = found(site)
    (site.home / "lost").rename(site.home / "state")
    (site.drop / ".canarysync").write_text(json.dumps({"routeId": "0192530c-4ce5-7aa1-be9b-bc52dec8a184"}) + "\n{}\n")
    foreign = found(site)

    assert (lost["marker"].grade, held["marker"].grade, foreign["marker"].grade) == ("warning", "problem", "problem")
    assert "worked on with another ledger" in lost["marker"].text
    assert f"another canarysync works on this folder: process {os.getpid()} on " in held["marker"].text
    assert "carries another route's id" in foreign["marker"].text


def test_a_ledger_of_another_api(site: Site) -> None:
    site.once()
    with Sandbox() as other:
        site.config_path.write_text(site.config_path.read_text().replace(site.config.api.url, other.url))
        assert bad(found(site)) == {"ledger": "problem"}


# --- the telling -----------------------------------------------------------------------------------


def test_a_probe_that_hangs_or_fails_is_a_finding() -> None:
    never = threading.Event()

    def hangs() -> Iterator[Finding]:
        never.wait()
        yield ok("disk", "")

    def fails() -> Iterator[Finding]:
        os.stat("/no/such/path")
        yield ok("disk", "")

    assert "no answer within 0.05 s" in guarded("disk", hangs, 0.05)[0].text
    assert guarded("disk", fails, 5.0)[0].text == "/no/such/path: No such file or directory"
    never.set()


def test_a_page_fits_its_terminal() -> None:
    long = Finding(Grade.WARNING, "room", "word " * 40 + "\x1b[2J", "do " * 40, "clinic-a")
    lines = "\n".join(finding_lines([ok("config", "here"), long], 80)).split("\n")
    assert all(len(line) <= 80 + len("\x1b[33m\x1b[0m") and "\x1b[2J" not in line for line in lines)
    assert lines[-1].endswith("1 warning\x1b[0m")
