#!/usr/bin/env python3
"""Bytes of an unstripped binary by crate, from its symbols: `CARGO_PROFILE_RELEASE_STRIP=none cross/build.sh`, then
`scripts/bench.d/by_crate.py target/cross/…/release/svs-bot`."""

import collections
import re
import subprocess
import sys

SHOWN = 16
# What is not Rust has no crate in its names: the first fitting pattern says where it is from.
OTHERS = [
    ("SQLite (C)", r"sqlite3|^(yy|vdbe|btree|pager|pcache|wal|unix|expr|where|select|parse|resolve|col|idx|json|fts|rtree|mem[0-9]|"
                   r"build|analy|trigger|upsert|attach|date|func|printf|strftime|window|vtab|aggregate|code|agg|apnd|aMx|azCompile)"),
    ("ring (C and assembly)", r"^ring_core|_x25519|p256|p384|aes|sha256|sha512|chacha|poly1305|bn_|ecp_|ge_|fe_|gcm|vpaes|LIMBS|x25519"),
    ("musl and compiler-rt", r""),
]


def main():
    path = sys.argv[1]
    raw = subprocess.run(["nm", "--print-size", "--size-sort", path], check=True, capture_output=True, text=True).stdout
    plain = subprocess.run(["nm", "--print-size", "--size-sort", "--demangle", path], check=True, capture_output=True, text=True).stdout
    sums = collections.Counter()
    seen = set()
    for mangled, shown in zip(raw.splitlines(), plain.splitlines()):
        address, size, kind, symbol = mangled.split(None, 3)
        if kind.lower() == "b" or (address, size) in seen:
            continue
        seen.add((address, size))
        name = shown.split(None, 3)[3]
        if symbol.startswith(("_R", "_ZN")):
            # `<a::B as c::D>::e` belongs to the first crate named that is not of the language.
            roots = [it for it in re.findall(r"(?<![:\w>])([a-z_]\w*)::", name) if it not in ("core", "alloc", "std")]
            crate = roots[0] if roots else "std, core, alloc"
            crate = "svs_bot::standin (for `demo`)" if crate == "svs_bot" and "svs_bot::standin" in name else crate
        else:
            crate = next(label for label, pattern in OTHERS if re.search(pattern, symbol))
        sums[crate] += int(size, 16)
    total = sum(sums.values())
    print("| crate | bytes of its symbols | |\n|---|---|---|")
    for crate, size in sums.most_common(SHOWN):
        print(f"| {crate} | {size:,} | {size / total:.0%} |")
    rest = total - sum(size for _, size in sums.most_common(SHOWN))
    print(f"| {len(sums) - SHOWN} others | {rest:,} | {rest / total:.0%} |\n| all symbols | {total:,} | |")


if __name__ == "__main__":
    main()
