"""Rows a second and peak memory of import from each source, and of export. Files come through a FIFO, so that nothing but
the program waits for a disk and its memory can be read before the first row. `supabase` is the real PostgREST."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

from sync_bench import Peak, Remote, cpu_s, peak_kib, start, waiting_mb
from world import BINARY

ENV = {"PATH": os.environ["PATH"], "TELEGRAM_BOT_TOKEN": "123456789:" + "A" * 35, "GEMINI_API_KEY": "AIza" + "b" * 35, "KEEP_HISTORY": "0"}
COLUMNS = "id, chat_id, user_id, username, message_text, response_text, model_used, metadata, created_at"
CHUNK = 500


def texts(number):
    return f"question {number} 请告诉我今天的天气", "an answer of some length, as they are " * (2 + number % 8)


def when(number):
    day, second = 1 + number // 86_400 % 28, number % 86_400
    return f"2026-{1 + number // (86_400 * 28) % 12:02}-{day:02}T{second // 3_600:02}:{second // 60 % 60:02}:{second % 60:02}"


def json_line(number):
    question, answer = texts(number)
    return json.dumps({"chat_id": -100 - number % 50, "user_id": 1_000 + number * 7_919 % 100_003, "username": f"p{number % 997}",
                       "message_text": question, "response_text": answer, "model_used": "gemini-3.5-flash-lite",
                       "metadata": {"n": number}, "created_at": when(number), "remote_id": number}, ensure_ascii=False) + "\n"


def copy_line(number):
    question, answer = texts(number)
    return (f"{number}\t{-100 - number % 50}\t{1_000 + number * 7_919 % 100_003}\tp{number % 997}\t{question}\t{answer}\t"
            f"gemini-3.5-flash-lite\t{{\"n\": {number}}}\t{when(number)}\n")


def insert_line(number):
    question, answer = texts(number)
    return (f"INSERT INTO public.chat_history VALUES ({number}, {-100 - number % 50}, {1_000 + number * 7_919 % 100_003}, 'p{number % 997}', "
            f"'{question}', '{answer}', 'gemini-3.5-flash-lite', '{{\"n\": {number}}}', '{when(number)}');\n")


END = "\n--\n-- PostgreSQL database dump complete\n--\n"
FILES = {
    "jsonl": ("jsonl", "", json_line, ""),
    "pgdump, COPY": ("pgdump", f"COPY public.chat_history ({COLUMNS}) FROM stdin;\n", copy_line, "\\.\n" + END),
    "pgdump, --inserts": ("pgdump", "", insert_line, END),
}


def through_fifo(folder, data, kind, rows):
    """Seconds, MB before the first row, MB at most, microseconds of CPU a row: user and system."""
    source, head, line, tail = FILES[kind]
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    before = cpu_s()
    process = subprocess.Popen([BINARY, "import", source, str(fifo), "--json", "--data-dir", str(data)],
                               env={**ENV, "HOME": str(folder)}, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with open(fifo, "w", buffering=1 << 20) as pipe:
        time.sleep(0.5)
        idle = peak_kib(process.pid) / 1_024
        begun = time.monotonic()
        with Peak(process) as peak:
            pipe.write(head)
            for first in range(1, rows + 1, CHUNK):
                pipe.write("".join(map(line, range(first, min(first + CHUNK, rows + 1)))))
            pipe.write(tail)
            pipe.close()
            out, err = process.communicate()
            took = time.monotonic() - begun
    fifo.unlink()
    told = json.loads(out)["chat_history"]
    if told["new"] != rows or process.returncode:
        raise RuntimeError(f"{kind}: {told} {err[-300:]}")
    return took, idle, peak.mb, used_us(before, rows)


def used_us(before, rows):
    return tuple((now - then) / rows * 1e6 for now, then in zip(cpu_s(), before))


def from_file(row, sizes, kind):
    found, exported = [], []
    for count in sizes:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="svs-bot-bench-"))
        try:
            took, idle, peak, used = through_fifo(folder, folder / "data", kind, count)
            found.append((count, count / took, idle, peak, used))
            if kind == "jsonl" and count == sizes[-1]:
                exported = export(row, folder, count)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return told(row, f"import {kind}", found) + exported


def told(row, name, found):
    count, _, idle, peak, used = found[-1]
    note = "; ".join(f"{n}: {r:.0f} rows/s, {u:.0f} + {s:.0f} µs of CPU a row, peak {p:.2f} MB" for n, r, _, p, (u, s) in found)
    return [row(f"14 peak memory of {name}, {count} rows, above idle", peak - idle, "MB", 4, 2, note=f"{note}; idle {idle:.2f} MB"),
            row(f"14 CPU a row of {name} at {count} rows, beside {found[0][0]}", sum(used) / sum(found[0][4]), "×", note="1 is linear")]


def export(row, folder, rows):
    process = subprocess.Popen([BINARY, "export", "--data-dir", str(folder / "data")], env={**ENV, "HOME": str(folder)}, cwd=folder,
                               stdout=subprocess.PIPE)
    # It has filled the pipe with its first rows and waits.
    time.sleep(1)
    idle = peak_kib(process.pid) / 1_024
    begun, lines, chunk = time.monotonic(), 0, b""
    with Peak(process) as peak:
        while chunk := process.stdout.read1(1 << 20):
            lines += chunk.count(b"\n")
        process.wait()
    took = time.monotonic() - begun
    if lines != rows or process.returncode:
        raise RuntimeError(f"export: {lines} of {rows}, exit {process.returncode}")
    return [row(f"14 peak memory of export, {rows} rows, above its first page", peak.mb - idle, "MB", 4, 2,
                note=f"{peak.mb:.2f} MB; {rows / took:.0f} rows/s")]


def from_supabase(row, sizes):
    found = []
    with Remote() as world:
        idle = waiting_mb(world, "import", "supabase")
        for count in sizes:
            world.fresh()
            world.env["SUPABASE_URL"] = world.env["SUPABASE_URL"].replace(str(world.gateway.server_port), str(world.nginx.port))
            world.pg.sql(f"""insert into chat_history (chat_id, user_id, username, message_text, response_text, model_used, created_at)
              select -100 - g % 50, 1000 + g * 7919 % 100003, 'p' || g % 997, 'question ' || g,
                repeat('an answer of some length, as they are ', (2 + g % 8)::int), 'gemini', timestamp '2026-01-01' + g * interval '1 second'
              from generate_series(1, {count}::bigint) g; analyze chat_history""")
            before, begun = cpu_s(), time.monotonic()
            process = start(world, "import", "supabase", "--json")
            with Peak(process) as peak:
                out, err = process.communicate()
            took = time.monotonic() - begun
            done = json.loads(out)["chat_history"]
            if done["new"] != count or process.returncode:
                raise RuntimeError(f"supabase: {done} {err[-300:]}")
            found.append((count, count / took, idle, peak.mb, used_us(before, count)))
    return told(row, "import supabase", found)


def measure(row, sizes, kind):
    return from_supabase(row, sizes) if kind == "supabase" else from_file(row, sizes, kind)
