#!/usr/bin/env python3
"""`scripts/bench profiles`: the same program, built in many ways, beside one another.

Each way is built by `cross/build.sh --try` into scripts/.cache/profiles (minutes each; what is there is not built
again until the sources change). CPU is measured in turns, so that a busy machine weighs on all of them alike.
"""

import argparse
import hashlib
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

import bench
import instructions
import world
from world import ROOT, World

CACHE = ROOT / "scripts" / ".cache" / "profiles"
MARKS = ("<!-- profiles: begin -->", "<!-- profiles: end -->")
PART, WARM = 2_000, 200


def level(word, *crates):
    """Options that build these crates, or all of them, with another opt-level."""
    value = word if str(word).isdigit() else f'"{word}"'
    if not crates:
        return ["--config", f"profile.release.opt-level={value}"]
    return [option for crate in crates for option in ("--config", f"profile.release.package.{crate}.opt-level={value}")]


def setting(key, value):
    return ["--config", f"profile.release.{key}={value}"]


class Way:
    """One way to build: its name, what is different from the shipped one, options, another allocator, and lines
    of the sources that read otherwise: (file, as it is, as it is here)."""

    def __init__(self, name, what, *options, allocator=None, edits=()):
        self.name, self.what, self.allocator, self.edits = name, what, allocator, edits
        self.options = [it for option in options for it in (option if isinstance(option, list) else [option])]


# The line of `src/os.rs` that names the allocator.
ALLOCATOR = "static ALLOCATOR: InTurn = InTurn(std::sync::Mutex::new(()));"


class Line:
    """A constant in the sources whose value can be another one."""

    def __init__(self, file, declared, value):
        self.file, self.declared, self.value = file, declared, value

    def to(self, value):
        return self.file, f"{self.declared} = {self.value};", f"{self.declared} = {value};"


STACK = Line("src/daemon/shell.rs", "const WORKER_STACK_BYTES: usize", "256 * 1024")
BUFFER = Line("src/net/buffers.rs", "const BUFFER_BYTES: usize", "8 * 1024 - 64")
PAGES = Line("src/store/mod.rs", "const CACHE_KIB: i64", "512")
WAYS = [
    Way("shipped", "as `Cargo.toml` and `cross/` say; musl's malloc, one thread at a time by a lock of ours"),
    Way("mimalloc", "mimalloc for the memory of Rust", allocator=(
        'mimalloc = { version = "0.1", default-features = false }', "mimalloc::MiMalloc", "mimalloc::MiMalloc")),
    Way("2", "`opt-level = 2`", level(2)),
    Way("musl", "musl's malloc with its own lock alone", allocator=("", "std::alloc::System", "std::alloc::System")),
    Way("sqlite", "SQLite without statistics of memory, lookaside of 200 × 1200 bytes for each connection",
        ["--sqlite", "-DSQLITE_DEFAULT_MEMSTATUS=0", "--sqlite", "-DSQLITE_DEFAULT_LOOKASIDE=1200,200"]),
    Way("s", '`opt-level = "s"`', level("s")),
    Way("hot", "SQLite, tinyjson and httparse with 2", level(2, "libsqlite3-sys", "tinyjson", "httparse")),
    Way("std-fast", "std without `optimize_for_size`", ["--std-features", ""]),
    Way("lto-thin", '`lto = "thin"`', setting("lto", '"thin"')),
    Way("dlmalloc", "dlmalloc for the memory of Rust", allocator=(
        'dlmalloc = { version = "0.2", features = ["global"] }', "dlmalloc::GlobalDlmalloc", "dlmalloc::GlobalDlmalloc")),
    Way("units-16", "16 units instead of one", setting("codegen-units", 16)),
    Way("unwind", '`panic = "unwind"`', setting("panic", '"unwind"')),
    Way("3", "`opt-level = 3`", level(3)),
    Way("stack-128", "stacks of workers of 128 KiB instead of 256", edits=[STACK.to("128 * 1024")]),
    Way("buffers-4", "buffers of HTTP of 4 KiB instead of 8", edits=[BUFFER.to("4 * 1024 - 64")]),
    Way("buffers-32", "buffers of HTTP of 32 KiB instead of 8", edits=[BUFFER.to("32 * 1024 - 64")]),
    Way("cache-128", "a page cache of SQLite of 128 KiB instead of 512", edits=[PAGES.to("128")]),
    Way("cache-4096", "a page cache of SQLite of 4 MiB instead of 512 KiB", edits=[PAGES.to("4096")]),
]


def sources_key():
    """Of everything a build reads."""
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "src", "migrations",
                            "cross", "Cargo.toml", "Cargo.lock"], cwd=ROOT, check=True, capture_output=True).stdout
    summed = hashlib.sha256()
    for name in sorted(it for it in names.split(b"\0") if it):
        path = ROOT / os.fsdecode(name)
        if path.is_file():
            summed.update(name + b"\0" + path.read_bytes())
    return summed.hexdigest()[:12]


def build(way, folder):
    """The program built that way."""
    binary = folder / way.name
    if binary.exists():
        return binary
    print(f"building {way.name}: {way.what}", file=sys.stderr, flush=True)
    tree = copied_sources(way)
    log = folder / f"{way.name}.log"
    part = folder / f"{way.name}.part"
    environment = {**os.environ, "SVS_BOT_CACHE": os.environ.get("SVS_BOT_CACHE", str(ROOT / "scripts" / ".cache")),
                   "CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))}
    with open(log, "wb") as out:
        done = subprocess.run([tree / "cross" / "build.sh", "--try", part, *way.options, os.uname().machine],
                              stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{way.name} does not build: {log}")
    return part.rename(binary)


def copied_sources(way):
    """A copy of the sources, so that work goes on while they are built; another allocator is put into it alone.

    One place for all: a path is among the flags, and with another one every crate would be built again.
    """
    copy, origin = CACHE / "sources", CACHE / "sources-as-they-are"
    if not origin.exists():
        for name in ("src", "migrations", "cross", "tests", "scripts/svs-bot.env.example", "Cargo.toml", "Cargo.lock"):
            target = origin / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, target)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(origin, copy)
    for file, as_it_is, as_it_is_here in way.edits:
        replace(copy / file, as_it_is, as_it_is_here)
    if way.allocator is None:
        return copy
    line, kind, value = way.allocator
    manifest = copy / "Cargo.toml"
    manifest.write_text(manifest.read_text().replace("[dependencies]\n", f"[dependencies]\n{line}\n", 1))
    replace(copy / "src" / "os.rs", ALLOCATOR, f"static ALLOCATOR: {kind} = {value};")
    # Adds the crate to the lock file and leaves the others as they are.
    subprocess.run(["cargo", "metadata", "--format-version", "1"], cwd=copy, check=True, stdout=subprocess.DEVNULL)
    return copy


def replace(source, old, new):
    text = source.read_text()
    assert old in text, f"{source} has no line '{old}': it is replaced here"
    source.write_text(text.replace(old, new))


def memory(binary):
    """At rest, and at most with 64 answers in flight, both over TLS: MB."""
    world.BINARY, count = str(binary), 64
    with World("--first-ms", "3000", tls=True) as it:
        it.script(say=bench.WORDS_2KB, times=10_000)
        bot = it.bot(WORKERS=count).wait_poll()
        time.sleep(8)
        rest = bot.rss_mb()
        for turn in range(1, 3):
            it.push(range(1_000, 1_000 + count), "tell me a lot")
            it.wait_sent(count * turn, 120)
        return rest, bot.peak_mb()


def cpu(binary):
    """Milliseconds of CPU for an answer, in the program and in the kernel."""
    world.BINARY = str(binary)
    with World() as it:
        bot = it.bot().wait_poll()
        it.push(range(500, 500 + WARM))
        it.wait_sent(WARM, 120)
        before = ticks(bot.pid)
        it.push(range(1_000, 1_000 + PART))
        it.wait_sent(WARM + PART, 300)
        after = ticks(bot.pid)
        return tuple((new - old) * world.TICK_S * 1e3 / PART for old, new in zip(before, after))


def ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def counted(binary):
    """Instructions for an answer outside of the kernel, by callgrind; a count, so no busy machine disturbs it."""
    world.BINARY = str(binary)
    return instructions.count(300, alone=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", choices=[it.name for it in WAYS], help="this way, beside the shipped one")
    parser.add_argument("--runs", type=int, default=5, help="turns of the measurement of CPU")
    parser.add_argument("--quick", action="store_true", help="one turn")
    parser.add_argument("--build", action="store_true", help="only build what is missing")
    parser.add_argument("--built", action="store_true", help="only what is built already")
    parser.add_argument("--key", help="the builds of other sources: a folder of scripts/.cache/profiles")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    ways = [it for it in WAYS if not options.only or it.name in {"shipped", *options.only}]
    folder = CACHE / (options.key or sources_key())
    if not folder.exists():
        shutil.rmtree(CACHE / "sources-as-they-are", ignore_errors=True)
        folder.mkdir(parents=True)
    if options.built:
        ways = [it for it in ways if (folder / it.name).exists()]
    built, failed = {}, 0
    for way in ways:
        try:
            built[way.name] = build(way, folder)
        except Exception as error:  # one way that does not build must not cost the others
            failed += 1
            print(f"{way.name}: {error}", file=sys.stderr, flush=True)
    if options.build:
        return 1 if failed else 0
    turns = {name: [] for name in built}
    load = os.getloadavg()[0]
    for _ in range(1 if options.quick else options.runs):
        for name, binary in built.items():
            turns[name].append(cpu(binary))
    lines = [f"Measured {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, load {load:.1f} at the start of the turns; CPU: median of "
             f"{len(turns['shipped'])} turns of {PART} answers, plain HTTP.", "",
             "| build | what is different | bytes | at rest over TLS | 64 in flight over TLS | CPU an answer (lowest–highest) "
             "| of it in the kernel | instructions an answer, without the kernel |", "|---|---|---|---|---|---|---|---|"]
    for way in ways:
        if way.name not in built:
            lines.append(f"| `{way.name}` | {way.what} | does not build | | | | | |")
            continue
        binary = built[way.name]
        whole = [user + system for user, system in turns[way.name]]
        rest, peak = memory(binary)
        count = f"{counted(binary) / 1e6:.2f} M" if shutil.which("valgrind") else "no valgrind"
        lines.append(f"| `{way.name}` | {way.what} | {binary.stat().st_size:,} | {rest:.1f} MB | {peak:.1f} MB "
                     f"| {statistics.median(whole):.2f} ms ({min(whole):.2f}–{max(whole):.2f}) "
                     f"| {statistics.median(system for _, system in turns[way.name]):.2f} ms | {count} |")
        print(lines[-1], file=sys.stderr, flush=True)
    print("\n".join(lines))
    if options.write:
        bench.write("\n".join(lines), MARKS)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
