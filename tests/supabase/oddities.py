"""Cases of `scripts/test.d/supabase.py`: odd texts, tables that are not what they should be, policies, cron."""
import json, pathlib, re, subprocess, time

from peers import READY_S, jwt
from rig import SENT_BY_MARK, US
from standin import TOKEN, StandIn

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Rows sent before an outage (fewer than leave in one turn), and rows of the outage.
SENT_BEFORE, WAITING = 900, 20_000
OWN_IDS = "alter table chat_history alter id drop default; alter table chat_history alter id add generated always as identity;"


def items(w):
    """What `check` says of Supabase, by name."""
    told = json.loads(w.run("check", "--json", code=None).stdout)["items"]
    return {item["name"]: item for item in told if item["name"].startswith("supabase")}


def halves_and_long_names(w, _):
    """Half surrogates in JSON, and names of 255 characters of four bytes each, in both tables."""
    w.add(1, metadata=r'{"high": "a\ud83d b", "low": "\uDE00", "swapped": "\ude00\ud83d", "pair": "\ud83d\ude00", "escaped": "\\ud83d", "\ud83d": 1, "nul": "\u0000"}')
    w.trigger(1)
    with w.db:
        w.db.execute("update registry set username = ?, first_name = ?, keyword = ?", ("😀" * 255, "😀" * 300 + "\0", "管" * 120))
    w.sync()
    found = json.loads(w.pg.sql("select metadata from chat_history"))
    odd = "\ufffd"
    assert found == {"high": f"a{odd} b", "low": odd, "swapped": odd + odd, "pair": "😀", "escaped": r"\ud83d", odd: 1, "nul": ""}, found
    names = w.pg.sql("select username, first_name, triggered_by_keyword from user_registry").split("\x1f")
    assert names == ["😀" * 255, "😀" * 255, "管" * 100], names
    w.trigger(1)
    w.sync()
    assert w.pg.sql("select trigger_count, length(username) from user_registry") == "2\x1f255"
    # Compared as it was sent, it is the same.
    w.run("verify", "--days", "9999")


def policies(w, _):
    """Row level security before a key that is not the secret one, as `sync` and `check` put it."""
    w.env["SUPABASE_KEY"] = jwt("anon")
    w.pg.sql("""grant all on chat_history, user_registry to anon; grant usage, select on all sequences in schema public to anon;
      alter table chat_history enable row level security; alter table user_registry enable row level security""")
    w.reload()
    w.add(3)
    w.trigger(1)

    def refused(*tables):
        error = w.sync(code=1)["error"]
        assert error["kind"] == "grant" and "row level security" in error["text"] and "service_role" in error["text"], error
        for table in ("chat_history", "user_registry"):
            item = items(w)[f"supabase {table}"]
            assert (item["level"] == "fail") == (table in tables), (tables, item)
            assert item["level"] == "ok" or "row level security" in item["found"] and "service_role" in item["todo"], item
        assert w.pg.sql("select count(*) from chat_history") == "0"
    refused("chat_history", "user_registry")
    # Rows may go in and not be seen: what cannot be proved is not done.
    w.pg.sql("create policy come on chat_history for insert to anon with check (true); create policy every on user_registry to anon using (true) with check (true)")
    refused("chat_history")
    w.pg.sql("create policy look on chat_history for select to anon using (true)")
    w.sync()
    w.same()
    told = items(w)
    assert told["supabase key"]["level"] == "warn" and told["supabase chat_history"]["level"] == "ok", told
    assert w.pg.sql("select count(*) from chat_history") == "3", "check wrote a row"
    # A delete that reaches no row is no end of an erasure while the rows are to be seen.
    w.run("forget", "7")
    error = w.sync(code=1)["error"]
    assert error["kind"] == "grant" and "still in `chat_history`" in error["text"] and "policy for delete" in error["text"], error
    w.pg.sql("create policy go on chat_history for delete to anon using (true)")
    w.sync()
    assert w.pg.sql("select count(*) from chat_history") == "0"


def the_other_table_is_odd(w, _):
    """What stops `user_registry` leaves `chat_history` alone, and `check` knows it but for what only a row shows."""
    t = "user_registry"
    cases = [
        (f"alter table {t} add column must text not null", f"alter table {t} drop column must", "column", "must", ""),
        (f"alter table {t} rename column first_name to name", f"alter table {t} rename column name to first_name", "column", "first_name", "column is missing"),
        (f"alter table {t} rename to old", f"alter table old rename to {t}", "table", t, "not there"),
        (f"alter table {t} rename to t; create view {t} as select * from t limit 1; grant all on {t} to service_role",
         f"drop view {t}; alter table t rename to {t}", "refused", "view", "view"),
        (f"alter table {t} drop constraint user_registry_user_id_chat_id_key", f"alter table {t} add unique (user_id, chat_id)", "table", "42P10", "42P10"),
        (f"revoke insert on {t} from service_role", f"grant insert on {t} to service_role", "grant", t, "may not write"),
    ]
    for number, (breaks, mends, kind, word, checked) in enumerate(cases):
        w.add(10)
        w.trigger(number)
        w.pg.sql(breaks)
        w.reload()
        report = w.sync(code=1)
        assert report["error"]["kind"] == kind and word in report["error"]["text"], (breaks, report)
        assert report["tables"]["chat_history"]["sent"] == 10 and report["tables"][t]["pending"] == 1, report
        item = items(w)[f"supabase {t}"]
        assert not checked or item["level"] == "fail" and checked in item["found"], (breaks, item)
        w.pg.sql(mends)
        w.reload()
        w.sync()
        w.same()


def registrations_take_too_long(w, _):
    """A real 57014 on `user_registry`: fewer at once; where one alone takes too long, nothing is lost and the table is named."""
    w.pg.sql("""create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.02 + case when new.trigger_count > 1 then 5 else 0 end); return new; end $$;
      create trigger slow before insert or update on user_registry for each row execute function slow();
      alter role service_role set statement_timeout = '700ms'; notify pgrst, 'reload config'""")
    w.reload()
    for user in range(90):
        w.trigger(user)
    report = w.sync()
    assert report["tables"]["user_registry"]["sent"] == 90 and report["requests"] > 2, report
    w.same()
    w.trigger(7)
    report = w.sync(code=75)
    assert report["tables"]["user_registry"]["pending"] == 1, report
    assert "`user_registry`" in report["error"]["text"] and "57014" in report["error"]["text"], report
    w.pg.sql("drop trigger slow on user_registry; alter role service_role reset statement_timeout; notify pgrst, 'reload config'")
    w.reload()
    w.sync()
    w.same()


def a_trigger_swallows_rows(w, _):
    """Accepted and not there, in a table that gives ids of its own: looked up, set aside and named, not sent for ever."""
    w.pg.sql(OWN_IDS + """create function swallow() returns trigger language plpgsql as $$ begin if new.message_text = 'gone' then return null; end if; return new; end $$;
      create trigger swallow before insert on chat_history for each row execute function swallow();""")
    w.reload()
    w.add(10, message_text=lambda n: "gone" if n == 3 else "here")
    report = w.sync(code=75)
    assert report["tables"]["chat_history"]["sent"] == 9 and report["tables"]["chat_history"]["pending"] == 1, report
    report = w.sync(code=1)
    assert report["tables"]["chat_history"]["parked"] == 1 and "trigger" in report["parked_rows"][0], report
    assert w.sync()["requests"] == 0
    w.pg.sql("drop trigger swallow on chat_history")
    assert w.sync("--retry-parked")["tables"]["chat_history"]["sent"] == 1
    assert w.pg.sql("select count(*), count(distinct metadata->>'svs_id') from chat_history") == "10\x1f10"


def cron_hears_nothing_unless_it_must(w, _):
    """The shipped line for cron, typed as it is: no word while all is well or only out of reach, words when the operator must act."""
    line = next(line for line in (ROOT / "scripts/svs-bot-sync.cron").read_text().splitlines() if line.startswith("*/"))
    assert "%" not in line, "cron makes an end of line of it"
    user, command = line.split(None, 5)[5].split(None, 1)
    assert user == "svs-bot", line
    sleeps, place = "sleep $(shuf -i 0-59 -n 1)", "/usr/local/bin/svs-bot sync"
    assert sleeps in command and place in command, command
    command = command.replace(sleeps, sleeps.replace("0-59", "0-0")).replace(place, f"{w.binary} sync --data-dir {w.data}")

    def typed(**env):
        done = w.shell(command, env)
        return done.stdout + done.stderr
    w.add(3)
    assert typed() == "" and typed() == ""
    w.same()
    w.add(3)
    assert typed(SUPABASE_URL="http://127.0.0.1:9") == ""
    assert "SUPABASE_KEY" in typed(SUPABASE_KEY="sb_secret_of_another")
    assert typed(SUPABASE_URL="", SUPABASE_KEY="") == ""
    assert typed() == ""
    w.same()


def unsent(w):
    return w.db.execute(f"select (select count(*) from history where sync != 2 and not {SENT_BY_MARK}) + (select count(*) from registry where sync != 2)").fetchone()[0]


def until(what, look, seconds=READY_S):
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def daemon(w, it, **more):
    settings = {"TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_API_URL": it.telegram, "GEMINI_API_URL": it.gemini, "HTTP_ADDR": "off",
                "SYNC_INTERVAL": "1s", **more}
    return subprocess.Popen([str(w.binary), "run", "--data-dir", str(w.data)], env={**w.env, **settings}, cwd=w.folder,
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def daemon_and_cron_share_a_lease(w, _):
    """The daemon at its own pace and `sync` beside it; killed with a request under way it leaves nobody waiting for its lease."""
    left = lambda: unsent(w)
    def kill_with_a_request_under_way(process):
        w.gateway.fault = lambda *_: "hang"
        first = len(w.gateway.log)
        w.add(30)
        until("the daemon sends nothing", lambda: len(w.gateway.log) > first)
        process.kill()
        process.wait()
        w.gateway.fault = lambda *_: None
        w.gateway.settle()
    with StandIn("--unlimited") as it:
        process = daemon(w, it, SYNC_BATCH_ROWS="20")
        try:
            for turn in range(6):
                w.add(200)
                w.trigger(turn)
                assert w.run("sync", "--json", code=None).returncode in (0, 75)
            until("rows are left", lambda: left() == 0)
            kill_with_a_request_under_way(process)
            # Its successor has the lock of the directory, and need not wait for the lease, which lasts longer than this.
            process = daemon(w, it, SYNC_BATCH_ROWS="20")
            until("the next daemon waits", lambda: left() == 0)
            kill_with_a_request_under_way(process)
            w.sync()
            assert left() == 0
        finally:
            process.kill()
            process.wait()
    w.same()


def days_without_supabase(w, _):
    """Rows of five days wait while what was sent before grows old and goes; people are answered meanwhile; then all of it
    arrives in batches, in little memory, and only then grows too old as well."""
    day_us, keep_days = 86_400 * US, 2
    now_us = int(time.time() * US)
    w.add(SENT_BEFORE, message_text=lambda n: f"sent {n}", created_us=lambda n: now_us - 5 * day_us + n)
    w.sync()
    w.add(WAITING, message_text=lambda n: f"waiting {n}", response_text="x" * 500,
          created_us=lambda n: now_us - 5 * day_us + n * (5 * day_us // WAITING))
    count = lambda what: w.db.execute(f"select count(*) from history where message_text like '{what} %'").fetchone()[0]
    peak_kib = lambda: int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{process.pid}/status").read_text())[1])
    outage = ["cut", 503, "html200", 544]
    w.gateway.fault = lambda number, *_: outage[number % len(outage)]
    settings = {"KEEP_HISTORY": f"{keep_days}d"}
    with StandIn("--unlimited") as it:
        process, first, begun = daemon(w, it, **settings), len(w.gateway.log), time.monotonic()
        try:
            until("what was sent does not grow too old", lambda: count("sent") == 0)
            it.hears("is anybody there?")
            until("nobody is answered", lambda: it.has_sent("is anybody there?"))
            until("it does not try again", lambda: len(w.gateway.log) - first > 3, 60)
            tries, seconds = len(w.gateway.log) - first, time.monotonic() - begun
            assert tries < 10 + seconds, f"{tries} tries in {seconds:.0f} s of an outage"
            assert count("waiting") == WAITING, "what was not sent has gone"
            before_kib, first = peak_kib(), len(w.gateway.log)
            w.gateway.fault = lambda *_: None
            until("it does not drain", lambda: unsent(w) == 0, 120)
            grown_kib, requests = peak_kib() - before_kib, len(w.gateway.log) - first
            assert grown_kib < 8 * 1024, f"{grown_kib} KiB more for the backlog"
            assert max(size for _, _, size, _ in w.gateway.log[first:]) < 2 << 20, "a batch without bounds"
            assert requests < WAITING / 20, f"{requests} requests for {WAITING} rows"
        finally:
            process.kill()
            process.wait()
        there = json.loads(w.pg.sql("select json_agg(message_text) from chat_history"))
        wanted = {f"sent {n}" for n in range(SENT_BEFORE)} | {f"waiting {n}" for n in range(WAITING)} | {"is anybody there?"}
        assert set(there) == wanted and len(there) == len(wanted), f"{len(there)} rows there, {len(wanted)} wanted"
        process = daemon(w, it, **settings)
        try:
            until("what has arrived stays for ever", lambda: count("waiting") < WAITING)
        finally:
            process.kill()
            process.wait()
    young = w.db.execute("select count(*) from history where created_us > ?", (now_us - keep_days * day_us + 60 * US,)).fetchone()[0]
    assert young > WAITING * keep_days // 5 - WAITING // 100, f"only {young} rows of the days to be kept"


CASES = [halves_and_long_names, policies, the_other_table_is_odd, registrations_take_too_long, a_trigger_swallows_rows, cron_hears_nothing_unless_it_must,
         daemon_and_cron_share_a_lease, days_without_supabase]
