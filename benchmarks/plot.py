"""The throughput as bars. matplotlib is an extra, and imported only here."""

from __future__ import annotations

from pathlib import Path

from benchmarks.throughput import Results

MISSING = "No plot, for want of matplotlib; to install it: pip install -e '.[bench]'"


def draw(results: Results, path: Path) -> str:
    """One bar for each player and delay, with its files a second; written to ``path``. Returns what to say of it."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return MISSING
    delays = list(dict.fromkeys(delay_s for delay_s, _ in results))
    figure = Figure(figsize=(4 * len(delays), 4), layout="constrained")
    for axes, delay_s in zip(figure.subplots(1, len(delays), squeeze=False)[0], delays, strict=True):
        rates = {name: found.per_s for (at_s, name), found in results.items() if at_s == delay_s}
        colours = ["#d9822b" if name == "canarysync" else "#8a9ba8" for name in rates]
        axes.bar_label(axes.bar(list(rates), list(rates.values()), color=colours), fmt="{:,.0f}")
        axes.margins(y=0.1)  # room for the label of the highest bar
        axes.set_title(f"API's delay {delay_s * 1000:g} ms")
        axes.set_ylabel("files/s, to the last PUT")
        axes.tick_params("x", rotation=30)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
    figure.savefig(path)
    return f"Plot: {path.name}"
