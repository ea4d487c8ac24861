"""The tables of records whose `kind` is `comparison`: longhaul and its peers, measured in turn (form in BENCHMARKS.md).

Used by update-readme.
"""

import re

NUMBER = (int, float)
RECORD_FIELDS = {
    "name": str, "kind": str, "machine": str, "commit": str, "date": str, "table": str, "quick": bool, "rows": list,
}
MAYBE = (dict, type(None))
ROW_FIELDS = {
    "group": str, "what": str, "threads": int, "at_least": str, "unit": str, "ours": MAYBE, "peers": list, "roof": MAYBE,
    "missing": list, "disturbed": NUMBER, "headline": bool,
}
MEASURED_FIELDS = {"name": str, "median": NUMBER, "best": NUMBER}
ROOF_FIELDS = {"name": str, "median": NUMBER}
MISSING_FIELDS = {"name": str, "why": str}

# The bars that figures of the row decide: "1.3 x" (the best peer), "1.3 x longhaul bf16" (that peer), "85% of dram", "75 tokens/s (2 threads)".
BAR = re.compile(
    r"(?P<number>[\d,.]+)(?: x(?: (?P<peer>.+))?|% of (?P<roof>.+)| (?P<unit>\S+) \((?P<threads>\d+) threads?\))"
)


def parts(row, where):
    """The objects in a row: each with its fields and where it stands."""
    single = [(row["ours"], MEASURED_FIELDS, f"{where}, ours"), (row["roof"], ROOF_FIELDS, f"{where}, roof")]
    several = [(peer, MEASURED_FIELDS, f"{where}, peers") for peer in row["peers"]]
    absent = [(entry, MISSING_FIELDS, f"{where}, missing") for entry in row["missing"]]
    return [part for part in single if part[0] is not None] + several + absent


def rate(measured):
    return f"{short(measured['median'])} ({short(measured['best'])})"


def short(value):
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def named(measured):
    return f"{measured['name']} {rate(measured)}"


def bar(row):
    """The rate that the row's bar asks for; None where nothing is asked for, or figures of the row do not say."""
    match = BAR.fullmatch(row["at_least"])
    if match is None:
        return None
    number = float(match["number"].replace(",", ""))
    if match["unit"]:
        return number if (match["unit"], int(match["threads"])) == (row["unit"], row["threads"]) else None
    if match["roof"]:
        roof = row["roof"]
        return number / 100 * roof["median"] if roof and roof["name"] == match["roof"] else None
    peers = [peer["median"] for peer in row["peers"] if match["peer"] in (None, peer["name"])]
    return number * max(peers) if peers else None


def met(row):
    """Whether the row meets its bar; None where that cannot be decided."""
    wanted = bar(row)
    return None if wanted is None or row["ours"] is None else row["ours"]["median"] >= wanted


def tally(rows):
    """How many of the rows that can be decided meet their bar, and how many those are."""
    decided = [answer for answer in map(met, rows) if answer is not None]
    return sum(decided), len(decided)


def row_cells(row):
    ours, peers, roof = row["ours"], row["peers"], row["roof"]
    best = max(peers, key=lambda peer: peer["median"], default=None)
    ratio = f"{ours['median'] / best['median']:.2f}" if ours and best else ""
    share = f"{ours['median'] / roof['median']:.0%} of {roof['name']}, {short(roof['median'])}" if ours and roof else ""
    others = [named(peer) for peer in peers if peer is not best] + [f"no {entry['name']}" for entry in row["missing"]]
    if row["disturbed"] > 0.1:
        others.append(f"**disturbed**: others kept {row['disturbed']} cores busy")
    measured = [f"{rate(ours)} {row['unit']}" if ours else "", named(best) if best else "", ratio, share]
    wanted = f"{row['at_least']} **missed**" if met(row) is False else row["at_least"]
    return [row["what"], str(row["threads"]), wanted, *measured, "; ".join(others)]


def shown(rows, headlines):
    """All rows; or the headlines, of the largest number of threads."""
    most = max((row["threads"] for row in rows), default=0)
    return [row for row in rows if row["headline"] and row["threads"] == most] if headlines else rows


def table(record, headlines, escape):
    """The table of a record; of `headlines` alone, or of all rows."""
    lines = [
        "| what | threads | at least | longhaul: median (best) | best peer | ratio | share of the roof | others |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = shown(record["rows"], headlines)
    lines += [f"| {' | '.join(map(escape, row_cells(row)))} |" for row in rows]
    (good, decided), (all_good, all_decided) = tally(rows), tally(record["rows"])
    whole = f" ({all_good} of {all_decided} in the whole record)" if headlines else ""
    bars = f"{good} of the {decided} rows whose bar can be decided meet it{whole}."
    hasty = " A quick run, with few samples." if record["quick"] else ""
    source = f"{record['machine']}, kernel table `{record['table']}`, commit `{record['commit']}`, {record['date']}"
    return "\n".join([*lines, "", bars, "", f"{source} ([record](benches/records/{record['name']}.json)).{hasty}"])
