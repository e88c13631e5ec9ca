"""Cases of `scripts/test.d/supabase.py`: what is brought in, from Supabase, from dumps and from lines."""
import csv, io, json, random, sqlite3, subprocess, time

from rig import US


def bringing_in(w, _):
    w.pg.sql("""insert into chat_history (chat_id, user_id, username, message_text, response_text, created_at, metadata)
      select -5, g, 'py', e'line\\nwith\\ttab \\\\ and ''quote''', 'a' || g, timestamp '2026-03-01 08:00:00' + g * interval '1 second', '{"k": [1, "x"]}' from generate_series(1, 2500) g;
      insert into user_registry (user_id, chat_id, trigger_count) select g, -5, g from generate_series(1, 30) g""")
    w.add(2)
    w.trigger(3, chat=-5)
    w.sync()
    assert w.pg.sql("select trigger_count from user_registry where user_id = 3") == "4"
    first = json.loads(w.run("import", "supabase", "--json", "--zone", "+08:00").stdout)
    assert first["chat_history"]["new"] == 2500 and first["user_registry"]["new"] == 29, first
    count = lambda: w.db.execute("select count(*), min(created_us) from history where chat_id = -5").fetchone()
    assert count() == (2500, 1_772_323_201 * US), count()
    second = json.loads(w.run("import", "supabase", "--json", "--zone", "+08:00").stdout)
    assert second["chat_history"]["new"] == second["user_registry"]["new"] == 0, second
    assert w.sync()["requests"] == 0
    done = w.run("verify", "--json", "--days", "9999")
    assert json.loads(done.stdout)["differences"] == [], done.stdout
    w.pg.sql("update chat_history set response_text = 'changed' where id = 7; delete from chat_history where id = 9; insert into chat_history (chat_id, user_id) values (1, 1)")
    done = json.loads(w.run("verify", "--json", "--days", "9999", code=1).stdout)
    found = [(d["id"], d["kind"], d["fields"]) for d in done["differences"]]
    assert (7, "differs", ["response_text"]) in found and (9, "missing_remote", []) in found and len(found) == 3, found
    tail = json.loads(w.run("import", "supabase", "--json").stdout)
    assert tail["chat_history"]["new"] == 1 and tail["chat_history"]["read"] < 1100, tail


def dumps_and_lines(w, _):
    w.pg.sql("""insert into chat_history (chat_id, user_id, username, message_text, response_text, created_at)
      select -5, g, 'py', e'line\\nwith\\ttab \\\\ and ''quote'';', null, timestamp '2026-03-01 00:00:00' + g * interval '1 second' from generate_series(1, 500) g;
      insert into user_registry (user_id, chat_id, trigger_count) values (1, -5, 3)""")
    for name, options in {"copy": [], "inserts": ["--inserts"], "columns": ["--column-inserts"], "many": ["--rows-per-insert=7"]}.items():
        data = w.pg.dump(*options)
        whole, cut = w.folder / f"{name}.sql", w.folder / f"{name}-cut.sql"
        whole.write_bytes(data)
        cut.write_bytes(data[: data.index(b"line", data.index(b"line") + 20_000) + 8])
        w.data = w.folder / f"data-{name}"
        broken = w.run("import", "pgdump", str(cut), "--json", code=1)
        some = json.loads(broken.stdout)["chat_history"]["new"]
        assert 0 < some < 500 and "ends inside" in broken.stderr, broken
        done = json.loads(w.run("import", "pgdump", str(whole), "--json").stdout)
        assert done["chat_history"]["new"] == 500 - some and done["chat_history"]["known"] == some, done
        assert json.loads(w.run("import", "pgdump", str(whole), "--json").stdout)["chat_history"]["new"] == 0
        w.run("verify", "--days", "9999")
    lines = w.run("export").stdout
    assert lines.count("\n") == 500 and json.loads(lines.splitlines()[0])["remote_id"] == 1
    file = w.folder / "rows.jsonl"
    file.write_text(lines)
    w.data = w.folder / "data-lines"
    assert json.loads(w.run("import", "jsonl", str(file), "--json").stdout)["chat_history"]["new"] == 500
    assert w.run("export").stdout == lines
    table = list(csv.DictReader(io.StringIO(w.run("export", "--format", "csv", "--user", "17").stdout, newline="")))
    assert len(table) == 1 and table[0]["message_text"] == "line\nwith\ttab \\ and 'quote';", table
    assert w.run("export", "--since", "2027-01-01").stdout == ""
    w.data = w.folder / "data-old"
    old = json.loads(w.run("import", "pgdump", str(w.folder / "copy.sql"), "--json", env={"KEEP_HISTORY": "1d"}).stdout)["chat_history"]
    assert (old["read"], old["new"], old["skipped_old"]) == (500, 0, 500), old


def an_import_that_is_killed_goes_on(w, options):
    """Killed at random moments and begun again, from each source; in the end every row is here once."""
    rows, dice = 6_000, random.Random(options.seed)
    w.pg.sql(f"""insert into chat_history (chat_id, user_id, message_text, response_text, created_at)
      select -5, g, 'question ' || g, repeat('answer ', 30), timestamp '2026-03-01' + g * interval '1 second' from generate_series(1, {rows}) g;
      insert into user_registry (user_id, chat_id, trigger_count) select g, -5, g from generate_series(1, 300) g""")
    dump, lines = w.folder / "killed.sql", w.folder / "killed.jsonl"
    dump.write_bytes(w.pg.dump())
    w.run("import", "supabase")
    lines.write_text(w.run("export").stdout)
    for source in (["supabase"], ["pgdump", str(dump)], ["jsonl", str(lines)]):
        w.data = w.folder / f"data-killed-{source[0]}"
        for _ in range(6):
            process = subprocess.Popen([str(w.binary), "import", *source, "--json", "--data-dir", str(w.data)], env=w.env, cwd=w.folder,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(dice.uniform(0.02, 0.4))
            process.kill()
            process.wait()
        w.run("import", *source)
        with sqlite3.connect(w.data / "svs-bot.db") as db:
            found = db.execute("select count(*), count(distinct remote_id), sum(user_id), min(sync), max(sync) from history").fetchone()
            assert found == (rows, rows, rows * (rows + 1) // 2, 4, 4), (source, found)
            if source[0] != "jsonl":
                assert db.execute("select count(*), sum(trigger_count), sum(sync = 2) from registry").fetchone() == (300, 45_150, 300)
        assert json.loads(w.run("import", *source, "--json").stdout)["chat_history"]["new"] == 0
        assert w.run("export").stdout == lines.read_text(), source
        assert w.sync()["requests"] == 0


# Texts that trip a reader of statements: every end of line, quotes, what looks like SQL or like the end of a block.
TRICKY = r"""insert into chat_history (chat_id, user_id, username, message_text, response_text, model_used, metadata, created_at) values
  (-5, 1, 'a', E'one\r\ntwo\rthree\n', E'\\\\ \\. \\N \t \b \f \v', null, '{"k": "a;b''c"}', '1970-01-01 00:00:00'),
  (-5, 2, '', E'''; drop table x; --\n\\.\n', E'INSERT INTO public.chat_history VALUES (9);\nCOPY public.chat_history (id) FROM stdin;\n', 'm', '{}', '9999-12-31 23:59:59.999999'),
  (-5, 3, repeat('😀', 255), repeat(E'x;\n', 2000), repeat('😀', 250000), null, null, '2026-03-01 00:00:00.5'),
  (-5, 4, null, null, null, null, '{"deep": [[[{"s": "\\u2028 \\\\ \" "}]]]}', '2026-03-01')"""


def dumps_cut_anywhere(w, options):
    """Each form of the real pg_dump, with texts that trip, cut at random places; told where, and then gone on with."""
    dice = random.Random(options.seed)
    w.pg.sql(TRICKY)
    w.pg.sql(r"insert into user_registry (user_id, chat_id, first_name, trigger_count) select g, -5, e'a''b\n;', g from generate_series(1, 40) g")
    w.run("import", "supabase")
    wanted = w.run("export").stdout
    assert wanted.count("\n") == 4 and r"one\r\ntwo\rthree" in wanted, wanted[:300]
    part = w.folder / "part.sql"
    for name, flags in {"copy": [], "data": ["--data-only"], "inserts": ["--inserts"], "columns": ["--column-inserts", "--quote-all-identifiers"],
                        "many": ["--inserts", "--rows-per-insert=3", "--on-conflict-do-nothing"]}.items():
        data = w.pg.dump(*flags)
        whole = w.folder / f"any-{name}.sql"
        whole.write_bytes(data)
        w.data = w.folder / f"data-any-{name}"
        first, end = data.index(b"chat_history"), data.index(b"-- PostgreSQL database dump complete")
        known = 0
        for at in sorted(dice.randrange(first, end) for _ in range(12)):
            part.write_bytes(data[:at])
            told = json.loads(w.run("import", "pgdump", str(part), "--json", code=1).stdout)
            assert told["chat_history"]["known"] == known, (name, at, told)
            known += told["chat_history"]["new"]
            assert told["chat_history"]["bad"] == told["user_registry"]["bad"] == 0, (name, at, told)
            text = told["error"]["text"]
            assert " line " in text or "neither" in text, (name, at, text)
        done = json.loads(w.run("import", "pgdump", str(whole), "--json").stdout)
        assert done["chat_history"] == {"read": 4, "new": 4 - known, "known": known, "skipped_old": 0, "bad": 0}, (name, done)
        assert w.run("export").stdout == wanted, name
        assert w.sync()["requests"] == 0, "what was brought in is not sent back"
        w.run("verify", "--days", "99999")
        with sqlite3.connect(w.data / "svs-bot.db") as db:
            assert db.execute("select count(*), sum(trigger_count) from registry").fetchone() == (40, 820), name
    part.write_bytes(w.pg.dump("--encoding=WIN1252", "--table=user_registry"))
    assert "make the dump with --encoding=UTF8" in w.run("import", "pgdump", str(part), code=1).stderr
    part.write_bytes(w.pg.dump("--format=custom"))
    assert "pg_restore --file" in w.run("import", "pgdump", str(part), code=1).stderr
    # A table whose ids are generated always is dumped in a form of its own.
    w.pg.sql("alter table chat_history alter id drop default; alter table chat_history alter id add generated always as identity")
    for flags in (["--inserts"], ["--column-inserts"]):
        part.write_bytes(w.pg.dump(*flags))
        w.data = w.folder / f"data-any-always{flags[0]}"
        assert json.loads(w.run("import", "pgdump", str(part), "--json").stdout)["chat_history"]["new"] == 4
        assert w.run("export").stdout == wanted, flags


def large_rows_come_back(w, _):
    """Answers of a megabyte: sent, compared and brought in, although no page of a thousand of them would fit."""
    w.add(40, response_text=lambda n: f"{n} " + "😀" * 250_000, created_us=lambda n: n * US)
    w.sync()
    w.same()
    w.run("verify", "--days", "99999")
    wanted = w.run("export").stdout
    w.data = w.folder / "data-large"
    done = json.loads(w.run("import", "supabase", "--json").stdout)
    assert done["chat_history"]["new"] == 40, done
    assert w.run("export").stdout == wanted


CASES = [bringing_in, dumps_and_lines, an_import_that_is_killed_goes_on, dumps_cut_anywhere, large_rows_come_back]
