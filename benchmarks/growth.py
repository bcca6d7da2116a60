"""What grows with the number of files, and should not: the cost of a backlog, and of being idle beside what is done."""

from __future__ import annotations

from benchmarks import Options, backlog, idle
from benchmarks.report import Section, at_most, figure

MILLION = 1_000_000
FIRST_MOST_S = 2.0


def of_backlog(options: Options) -> Section:
    found = [backlog.measure(waiting) for waiting in (1000, 10_000, 100_000, *([MILLION] if options.full else []))]
    costs_ms = [one.user_ms + one.system_ms for one in found]
    rows = [
        (f"{one.waiting:,}", figure(one.first_put_s), figure(cost_ms), figure(one.peak_mb))
        for one, cost_ms in zip(found, costs_ms, strict=True)
    ]
    most = found[-1]
    checks = [
        at_most(f"{most.waiting:,} waiting: the first PUT after", most.first_put_s, FIRST_MOST_S, "s"),
        at_most(f"{most.waiting:,} waiting: memory at most", most.peak_mb, 120, "MB"),
        at_most(f"cost per file with {most.waiting:,} / with 1,000 waiting", costs_ms[-1] / costs_ms[0], 1.3, "x"),
    ]
    columns = ("files waiting at the start", "first PUT after, s", "CPU/file, ms", "memory at most, MB")
    return Section("Backlog", columns, rows, checks)


def of_idle(options: Options) -> Section:
    rows, checks = [], []
    for files in (1000, *([MILLION] if options.full else [])):
        one = idle.measure(files)
        memory_mb, what = one.rss_mb, f"idle, {one.files_in_done:,} files in done/"
        figures = (one.start_s, memory_mb, one.cpu_percent, one.wake_ups)
        rows.append((f"{one.files_in_done:,}", *map(figure, figures)))
        checks += [
            at_most(f"{what}: memory", memory_mb, 60, "MB"),
            at_most(f"{what}: CPU", one.cpu_percent, 0.1, "%"),
            at_most(f"{what}: wake-ups a minute", one.wake_ups, 30, ""),
        ]
    columns = ("files in done/", "watches after, s", "memory, MB", "CPU, %", "wake-ups a minute")
    return Section("Idle, over a minute", columns, rows, checks)
