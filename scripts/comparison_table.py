"""The tables of records whose `kind` is `comparison`: longhaul and its peers, measured in turn (form in BENCHMARKS.md).

Used by update-readme.
"""

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


def row_cells(row):
    ours, peers, roof = row["ours"], row["peers"], row["roof"]
    best = max(peers, key=lambda peer: peer["median"], default=None)
    ratio = f"{ours['median'] / best['median']:.2f}" if ours and best else ""
    share = f"{ours['median'] / roof['median']:.0%} of {roof['name']}, {short(roof['median'])}" if ours and roof else ""
    others = [named(peer) for peer in peers if peer is not best] + [f"no {entry['name']}" for entry in row["missing"]]
    if row["disturbed"] > 0.1:
        others.append(f"**disturbed**: others kept {row['disturbed']} cores busy")
    measured = [f"{rate(ours)} {row['unit']}" if ours else "", named(best) if best else "", ratio, share]
    return [row["what"], str(row["threads"]), row["at_least"], *measured, "; ".join(others)]


def table(record, headlines, escape):
    """The table of a record; of `headlines` alone, or of all rows."""
    lines = [
        "| what | threads | at least | longhaul: median (best) | best peer | ratio | share of the roof | others |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = [row for row in record["rows"] if row["headline"] or not headlines]
    lines += [f"| {' | '.join(map(escape, row_cells(row)))} |" for row in rows]
    hasty = " A quick run, with few samples." if record["quick"] else ""
    source = f"{record['machine']}, kernel table `{record['table']}`, commit `{record['commit']}`, {record['date']}"
    return "\n".join([*lines, "", f"{source} ([record](benches/records/{record['name']}.json)).{hasty}"])
