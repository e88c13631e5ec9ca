"""One Supabase of real parts and one data directory of the bot, fresh for each case or measurement."""
import json, os, sqlite3, subprocess, time, urllib.error, urllib.request

from faults import Faults
from peers import READY_S, ROLES, SECRET_KEY, TABLES, Nginx, Postgres, Postgrest, jwt

US = 1_000_000
RUN_TIMEOUT_S = 900
# A row whose `sync` is 0 is there when its id is not beyond the mark; its name is then the base and its id.
SENT_BY_MARK = "(sync = 0 and id <= (select coalesce(max(cast(value as integer)), 0) from meta where key = 'remote_sent'))"
REMOTE_ID = f"case when remote_id = 0 and {SENT_BY_MARK} then id + (select cast(value as integer) from meta where key = 'remote_base') else remote_id end"


class World:
    """A clean pair of tables and a clean data directory for each case."""

    def __init__(self, folder, binary):
        self.folder, self.binary = folder, binary
        self.pg = Postgres(folder)
        self.pg.sql(ROLES)
        self.rest = Postgrest(folder, self.pg)
        self.nginx = Nginx(folder, self.rest.port)
        self.gateway = Faults(self.nginx.port)
        self.case = self.probe = 0

    def fresh(self):
        self.case += 1
        self.gateway.settle()
        self.gateway.fault = lambda *_: None
        self.gateway.log.clear()
        self.gateway.met.clear()
        self.pg.sql("drop schema public cascade; create schema public;" + TABLES)
        self.reload()
        self.data = self.folder / f"data{self.case}"
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder),
            "TELEGRAM_BOT_TOKEN": "123456789:" + "A" * 35, "GEMINI_API_KEY": "AIza" + "b" * 35,
            "SUPABASE_URL": f"http://127.0.0.1:{self.gateway.server_port}", "SUPABASE_KEY": SECRET_KEY,
            "KEEP_HISTORY": "0",
        }
        empty = self.folder / "empty.jsonl"
        empty.write_text("")
        self.run("import", "jsonl", str(empty))
        self.db = sqlite3.connect(self.data / "svs-bot.db", timeout=10)

    def reload(self):
        """Returns once PostgREST has read the schema anew: it then knows a table that was made for that."""
        self.probe += 1
        name = f"probe_{self.probe}"
        self.pg.sql(f"""drop table if exists probe_{self.probe - 1}; create table {name} (x int);
          grant all on {name} to service_role; notify pgrst, 'reload schema'""")
        end = time.monotonic() + READY_S
        while True:
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.rest.port}/{name}?columns=x", b"[]",
                {"Content-Type": "application/json", "Authorization": "Bearer " + jwt("service_role")})
            try:
                urllib.request.urlopen(request, timeout=READY_S).close()
                return
            except urllib.error.HTTPError:
                assert time.monotonic() < end, "postgrest does not read the schema anew"
                time.sleep(0.05)

    def run(self, *args, code=0, env=None):
        command = [str(self.binary), args[0], *args[1:], "--data-dir", str(self.data)]
        done = subprocess.run(command, env={**self.env, **(env or {})}, cwd=self.folder, capture_output=True, text=True, timeout=RUN_TIMEOUT_S)
        if code is not None:
            assert done.returncode == code, f"{args}: exit {done.returncode}, wanted {code}\n{done.stdout}\n{done.stderr}"
        return done

    def shell(self, line, env):
        """A line as cron hands it to `sh`."""
        return subprocess.run(["sh", "-c", line], env={**self.env, **env}, cwd=self.folder, capture_output=True, text=True, timeout=RUN_TIMEOUT_S)

    def sync(self, *args, code=0):
        return json.loads(self.run("sync", "--json", *args, code=code).stdout)

    def add(self, count, **columns):
        base = dict(chat_id=-100, user_id=7, username="ann", message_text="hi", response_text="yo", model_used="gemini",
                    metadata="{}", created_us=int(time.time() * US)) | columns
        names = list(base)
        with self.db:
            for number in range(count):
                row = {k: v(number) if callable(v) else v for k, v in base.items()}
                self.db.execute(f"insert into history ({','.join(names)}) values ({','.join('?' * len(names))})", [row[n] for n in names])

    def trigger(self, user, chat=-100, now_us=None):
        now_us = now_us or int(time.time() * US)
        with self.db:
            self.db.execute("""insert into registry (user_id, chat_id, username, first_name, keyword, trigger_count, last_us, created_us)
              values (?, ?, 'ann', 'Ann', 'admin', 1, ?, ?) on conflict (user_id, chat_id) do update set
              trigger_count = trigger_count + 1, last_us = excluded.last_us, sync = case when sync = 3 then 3 else 0 end""", (user, chat, now_us, now_us))

    def same(self):
        """Local and remote, row by row, to the byte."""
        here = {row[0]: row[1:] for row in self.db.execute(
            f"select {REMOTE_ID}, chat_id, user_id, username, message_text, response_text, model_used, metadata, created_us from history")}
        text = self.pg.sql("select coalesce(json_agg(json_build_array(id, chat_id, user_id, username, message_text, response_text, model_used, metadata, (extract(epoch from created_at) * 1000000)::bigint)), '[]') from chat_history")
        there = {row[0]: row[1:] for row in json.loads(text)}
        cut = lambda text, n: None if text is None else text.replace("\0", "")[:n]
        expected = {}
        for key, (chat, user, name, message, response, model, metadata, us) in here.items():
            expected[key] = [chat, user, cut(name, 255), cut(message, None), cut(response, None), cut(model, 100), json.loads(metadata), us]
        assert set(expected) == set(there), f"{len(expected)} rows here, {len(there)} there"
        for key, row in expected.items():
            assert row == there[key], f"{row} is not {there[key]}"
        counts = dict(((u, c), n) for u, c, n in self.db.execute("select user_id, chat_id, trigger_count from registry"))
        remote = json.loads(self.pg.sql("select coalesce(json_agg(json_build_array(user_id, chat_id, trigger_count)), '[]') from user_registry"))
        assert {(u, c): n for u, c, n in remote} == counts, (remote, counts)
        assert len(remote) == len(counts)

    def stop(self):
        self.gateway.settle()
        self.nginx.stop()
        self.rest.stop()
        self.pg.stop()
