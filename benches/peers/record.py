"""The record of a comparison (its form is in BENCHMARKS.md)."""

import datetime
import json
import subprocess
from dataclasses import asdict, dataclass

from workers import ROOT


@dataclass(frozen=True)
class Measured:
    """Rates of an entrant."""

    name: str
    median: float
    best: float

    def rounded(self):
        return {"name": self.name, "median": significant(self.median), "best": significant(self.best)}


@dataclass(frozen=True)
class Row:
    """A case on a number of threads."""

    case: object
    threads: int
    measured: list
    missing: dict
    disturbed: float  # cores that other processes kept busy meanwhile
    roof: float | None = None

    def ours(self):
        return next((m for m in self.measured if m.name == self.case.ours.name), None)

    def peers(self):
        return sorted((m for m in self.measured if m.name != self.case.ours.name), key=lambda m: -m.median)

    def summary(self):
        """A line for the terminal."""
        shown = [m for m in (self.ours(), *self.peers()) if m]
        return "; ".join(f"{m.name} {m.median:,.4g} ({m.best:,.4g})" for m in shown) + f" {self.case.unit}"

    def as_json(self):
        ours = self.ours()
        return {
            "group": self.case.group,
            "what": self.case.what,
            "threads": self.threads,
            "at_least": self.case.at_least,
            "unit": self.case.unit,
            "ours": ours and ours.rounded(),
            "peers": [peer.rounded() for peer in self.peers()],
            "roof": self.roof and {"name": self.case.roof, "median": significant(self.roof)},
            "missing": [{"name": name, "why": why} for name, why in self.missing.items()],
            "disturbed": round(self.disturbed, 2),
            "headline": self.case.headline,
        }


class Record:
    """`benches/records/NAME.json`. Rows that an earlier run wrote stay if they are of the same code and machine."""

    def __init__(self, name, quick):
        self.path = ROOT / "benches" / "records" / f"{name}.json"
        known = {"commit": commit(), "date": str(datetime.date.today()), "table": "", "quick": quick}
        self.head = {"name": name, "kind": "comparison", "machine": ""} | known
        self.rows = []

    def about(self, machine):
        """Takes the machine's description, and the earlier rows that still hold."""
        memory = f"{machine['memory_bytes'] / 2**30:.0f} GiB"
        self.head["machine"] = f"{machine['cpu']}, {machine['cores']} cores, {memory}, virtual"
        self.head["table"] = machine["table"]
        if self.rows or not self.path.exists():
            return
        earlier = json.loads(self.path.read_text(encoding="utf-8"))
        same = all(earlier.get(key) == self.head[key] for key in ("kind", "machine", "table", "quick"))
        if same and same_code(earlier["commit"], self.head["commit"]):
            self.rows = earlier["rows"]
        else:
            print(f"{self.path.name} is of other code, another machine or another kind: its rows go")

    def replace(self, group, threads, rows):
        self.rows = [row for row in self.rows if (row["group"], row["threads"]) != (group, threads)]
        self.rows += [row.as_json() for row in rows]

    def save(self):
        self.path.write_text(json.dumps(self.head | {"rows": self.rows}, indent=1) + "\n", encoding="utf-8")


# What a figure depends on.
CODE = ["src", "Cargo.toml", "benches/peers"]


def git(*args):
    """Whether git succeeds, and what it prints."""
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True)
    return done.returncode == 0, done.stdout.strip()


def commit():
    """The commit that is measured, with `-dirty` if the files differ from it."""
    _, head = git("rev-parse", "--short", "HEAD")
    clean, _ = git("diff", "--quiet", "HEAD", "--", *CODE)
    return (head or "unknown") + ("" if clean else "-dirty")


def same_code(earlier, now):
    """Whether two commits measure the same; files that differ from their commit are like no others."""
    return not now.endswith("-dirty") and git("diff", "--quiet", earlier, now, "--", *CODE)[0]


def significant(value):
    """Four digits."""
    return float(f"{value:.4g}")
