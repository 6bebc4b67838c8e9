# SPDX-License-Identifier: Apache-2.0
"""Figures of a run → results.md, plots, and the history of runs."""

import json
import platform
import subprocess
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot

Figures = Mapping[str, float]

OURS, PEER, NGINX = "#0b6e4f", "#c1666b", "#8d99ae"
HISTORY = "history.json"
MIB_OF_FILE = 1024


class Target(NamedTuple):
    """`ratio` of the figures; `most` or `least` that it may be, and what no program comes below on this machine.

    Figures that a run does not have raise KeyError."""

    what: str
    ratio: Callable[[Figures], float]
    most: float | None = None
    least: float | None = None
    floor: Callable[[Figures], float] | None = None

    def met(self, value: float) -> bool:
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)

    @property
    def wanted(self) -> str:
        return f"≤ {self.most:g}" if self.most is not None else f"≥ {self.least:g}"


def floor(found: Figures, algorithm: str = "sha512") -> float:
    """Seconds that an upload of 1 GiB takes at least on two cores: it has to be written, and hashed twice, which is a
    chain from its first byte to its last that takes one core each."""
    hashed = found["up md5 alone"], found[f"up {algorithm} alone"]
    return max(*hashed, (sum(hashed) + found["up nginx"]) / 2)


def _figure(name: str) -> Callable[[Figures], float]:
    return lambda found: found[name]


def _over(one: str, other: str) -> Callable[[Figures], float]:
    return lambda found: found[one] / found[other]


def _page_growth(database: str, kind: str = "page") -> Callable[[Figures], float]:
    def growth(found: Figures) -> float:
        costs = _pages(found, f"{kind} {database}")
        return costs[max(costs)] / costs[min(costs)]

    return growth


TARGETS = (
    Target(
        "upload of 1 GiB, md5 and sha512: time, of the peer's",
        _over("up glance", "up peer"),
        most=0.5,
        floor=lambda found: floor(found) / found["up peer"],
    ),
    Target("the same, of the floor", lambda found: found["up glance"] / floor(found), most=1.2, floor=lambda _: 1),
    Target(
        "upload with sha256: time, of the peer's",
        _over("up glance sha256", "up peer"),
        most=0.36,
        floor=lambda found: floor(found, "sha256") / found["up peer"],
    ),
    Target(
        "4 uploads of 512 MiB at once: time, of the peer's",
        _over("four up glance", "four up peer"),
        most=0.5,
        floor=lambda found: 4 * 0.5 * floor(found) / found["four up peer"],
    ),
    Target(
        "the same: memory that the daemons grow by from their start on, MiB",
        lambda found: found["memory glance 4"],
        most=64,
    ),
    Target("download of 1 GiB: throughput, of nginx's", _over("down nginx", "down glance"), least=0.9),
    Target("the same: processor time, of nginx's", _over("down processor glance", "down processor nginx"), most=1.3),
    Target("the same: throughput, of the peer's", _over("down peer", "down glance"), least=1.7),
    Target("metadata beside 32 downloads and 8 uploads: p99, ms", lambda found: found["beside p99"] * 1000, most=50),
    Target("the same: longest, ms", lambda found: found["beside most"] * 1000, most=1000),
    Target(
        "metadata of an image: requests a second, of the peer's", _over("metadata glance", "metadata peer"), least=8
    ),
    Target("list of 20: requests a second, of the peer's", _over("list glance", "list peer"), least=8),
    *(
        Target(
            f"page of 20 in {name}, {what}: time with most images, of that with fewest",
            _page_growth(key, kind),
            most=1.3,
        )
        for key, name in (("sqlite", "SQLite"), ("postgresql", "PostgreSQL"))
        for kind, what in (
            ("page", "mean of all sorts, filters and places"),
            ("worst page", "the one that grows most"),
        )
    ),
    *(
        Target(f"{what}: speed, of {library}'s{beside}", _figure(f"cloud {key}"), least=0.9)
        for store, library, segmented in (("s3", "boto3", "boto3"), ("swift", "swiftclient", "SwiftService"))
        for key, what, library, beside in (
            (f"{store} up digests", f"{store} up", library, " while md5 and sha512 are computed beside it"),
            (f"{store} up", f"{store} up", library, " alone"),
            (f"{store} up unknown digests", f"{store} up, size unknown", segmented, " with digests"),
            (f"{store} up unknown", f"{store} up, size unknown", segmented, " alone"),
            (f"{store} down", f"{store} down", library, " alone"),
        )
    ),
    Target("start of both daemons: seconds", lambda found: found["start glance"], most=1.5),
)


def write(folder: Path, figures: Figures, moment: datetime) -> None:
    """results.md and the plots of this run; history.json gets the run added."""
    commit = subprocess.run(
        ["git", "-C", folder, "describe", "--always", "--dirty"], stdout=subprocess.PIPE, text=True, check=False
    ).stdout.strip()
    run = {"moment": moment.isoformat(timespec="minutes"), "commit": commit, "figures": figures}
    history = [*_history(folder), run]
    (folder / HISTORY).write_text(json.dumps(history, indent=1) + "\n")
    plots = [name for name, plot in PLOTS.items() if _plotted(folder / f"{name}.png", plot, figures, history)]
    (folder / "results.md").write_text(_text(run, plots))
    print(f"see {folder}/results.md")


def _history(folder: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads((folder / HISTORY).read_text()))
    except FileNotFoundError:
        return []


def _text(run: Mapping[str, Any], plots: list[str]) -> str:
    figures = run["figures"]
    lines = [
        "# Results",
        "",
        f"Measured {run['moment']} on {platform.machine()}, {platform.system()} {platform.release()}, Python "
        f"{platform.python_version()}, at {run['commit']}, by `tox -e bench`. The peer is OpenStack Glance under "
        "uWSGI, see `sides.py`. How: `run.py`. Seconds are this machine's; the ratios are what counts.",
        "",
        "The floor of an upload: both of its hashes, each of which is a chain that one core computes, and nginx's "
        "own PUT of the file, on two cores that do nothing else.",
        "",
        "| what | wanted | floor | measured | |",
        "|---|---|---|---|---|",
    ]
    for target in TARGETS:
        value = _value(target.ratio, figures)
        if value is not None:
            least = None if target.floor is None else _value(target.floor, figures)
            lowest = "" if least is None else f"{least:.3g}"
            met = "✓" if target.met(value) else "✗"
            lines.append(f"| {target.what} | {target.wanted} | {lowest} | {value:.3g} | {met} |")
    lines += ["", *(f"![{name}]({name}.png)" for name in plots), "", "| figure | median |", "|---|---|"]
    lines += [f"| {name} | {value:.4g} |" for name, value in sorted(figures.items())]
    return "\n".join(lines) + "\n"


def _value(of: Callable[[Figures], float], figures: Figures) -> float | None:
    try:
        return of(figures)
    except (KeyError, ValueError):  # this part was not run
        return None


def _plotted(file: Path, plot: Callable[..., None], figures: Figures, history: list[dict[str, Any]]) -> bool:
    figure, axes = pyplot.subplots(figsize=(7, 3.6), dpi=120, layout="constrained")
    try:
        plot(axes, figures, history)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(file)
    except (KeyError, ValueError):
        return False
    finally:
        pyplot.close(figure)
    return True


def _throughput(axes: Any, found: Figures, _: object) -> None:
    names = {"glance": OURS, "peer": PEER, "nginx": NGINX}
    _bars(axes, names, {way: [MIB_OF_FILE / found[f"{way} {name}"] for name in names] for way in ("up", "down")})
    axes.set_xscale("log")
    axes.set_title("One image of 1 GiB: MiB a second (nginx hashes nothing)")


def _processor(axes: Any, found: Figures, _: object) -> None:
    names = {"glance": OURS, "peer": PEER, "nginx": NGINX}
    _bars(axes, names, {"download": [found[f"down processor {name}"] for name in names]})
    axes.set_title("Processor seconds of the server for a download of 1 GiB")


def _requests(axes: Any, found: Figures, _: object) -> None:
    names = {"glance": OURS, "peer": PEER}
    labels = {"metadata": "one image", "list": "list of 20"}
    _bars(axes, names, {label: [found[f"{what} {name}"] for name in names] for what, label in labels.items()})
    axes.set_title("Requests a second, 16 connections, two processes each")


def _bars(axes: Any, names: Mapping[str, str], groups: Mapping[str, list[float]]) -> None:
    """One group of bars for each key, one bar in it for each name."""
    places = []
    at = 0.0
    for values in groups.values():
        for (name, color), value in zip(names.items(), values, strict=True):
            axes.barh(at, value, color=color, height=0.8)
            axes.annotate(f" {name}: {_amount(value)}", (value, at), va="center", fontsize=8)
            at += 1
        places.append(at - (len(names) + 1) / 2)
        at += 0.6
    axes.set_yticks(places, list(groups))
    axes.invert_yaxis()
    axes.margins(x=0.2)


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _memory(axes: Any, found: Figures, _: object) -> None:
    counts = (1, 2, 4, 8)
    for name, color in (("glance", OURS), ("peer", PEER)):
        axes.plot(counts, [found[f"memory {name} {count}"] for count in counts], "o-", color=color, label=name)
    axes.set_xticks(counts)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("uploads of 512 MiB at once")
    axes.legend(frameon=False)
    axes.set_title("Memory that all processes grow by from their start on, MiB")


def _pages(found: Figures, what: str) -> dict[int, float]:
    """Milliseconds by number of images."""
    costs = {int(name.split()[-1]): value for name, value in found.items() if name.startswith(f"{what} ")}
    if not costs:
        raise KeyError(what)
    return costs


def _page_cost(axes: Any, found: Figures, _: object) -> None:
    for database, style in (("sqlite", "o-"), ("postgresql", "s--")):
        costs = _pages(found, f"page {database}")
        axes.plot(list(costs), list(costs.values()), style, color=OURS, label=database)
    axes.legend(frameon=False)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("images in the table")
    axes.set_title("Milliseconds of a page of twenty in the registry, mean of all sorts and filters")


def _load(axes: Any, found: Figures, _: object) -> None:
    counts = sorted({int(name.split()[1]) for name in found if name.startswith("load ")})
    if not counts:
        raise KeyError("load")
    axes.plot(counts, [found[f"load {count} MiB/s"] for count in counts], "o-", color=OURS)
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("connections that download at once")
    axes.set_ylabel("MiB a second")
    beside = axes.twinx()
    beside.plot(counts, [found[f"load {count} memory"] for count in counts], "s--", color=NGINX)
    beside.set_ylim(bottom=0)
    beside.set_ylabel("memory of both daemons, MiB (dashed)")
    axes.set_title("Load")


def _past(axes: Any, _: object, history: list[dict[str, Any]]) -> None:
    for target in TARGETS:
        if target.most is not None and "peer" in target.what:
            values = [_value(target.ratio, run["figures"]) for run in history]
            if any(value is not None for value in values):
                axes.plot([value if value is not None else float("nan") for value in values], "o-", label=target.what)
    if not axes.lines:
        raise KeyError("up")
    axes.set_xticks(range(len(history)), [run["commit"] for run in history], rotation=45, fontsize=7)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=7)
    axes.set_title("Time of uploads as a part of the peer's, run by run")


PLOTS: dict[str, Callable[..., None]] = {
    "throughput": _throughput,
    "processor": _processor,
    "requests": _requests,
    "memory": _memory,
    "pages": _page_cost,
    "load": _load,
    "history": _past,
}
