#!/usr/bin/env python3
"""The log as an operator keeps it: in a file that the real logrotate turns over with the shipped settings,
in each format, with hostile words from outside, and in the real journald with its priorities.

It runs in namespaces of its own, where a journald can be started that sees nothing of this machine.
"""

import gzip
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

from bot import Bot, until
from namespaces import enter, loopback_up, mount
from standin import ROOT, StandIn, post

SHIPPED = ROOT / "scripts" / "svs-bot.logrotate"
# What a person, a group or a service may be called; none of it may begin a line or a field of its own.
HOSTILE = 'x"\n<3>panic: forged level=error event=forged\r\n{"event":"forged"} \x1b[2J\u2028 end=\\'
SECRET_WORDS = "words that nobody may find in a log"
FAILURES = 4
VALUE = r'(?:"(?:[^"\\]|\\.)*"|[^\s"=]*)'
LINES = {
    "text": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*Z \[(?P<level>ERROR|WARN|INFO|DEBUG)\] (?P<event>[a-z_]+[a-z._]*): .+"),
    "logfmt": re.compile(
        rf"ts=\S+Z level=(?P<level>error|warn|info|debug) event=(?P<event>[a-z._]+) msg={VALUE}(?: [A-Za-z_]+={VALUE})*"
    ),
}
PRIORITIES = {"daemon.started": "6", "bot.known": "6", "poll.failed": "4", "poll.recovered": "6"}


def main():
    if "inside" not in sys.argv:
        done = subprocess.run(enter([sys.executable, __file__, "inside"]))
        assert done.returncode == 0, "see above; namespaces need root or the right to make them"
        print("ok")
        return
    loopback_up()
    for form in ("text", "logfmt", "json"):
        with StandIn("--unlimited", "--username", "svs_bot") as standin:
            in_a_file(standin, form)
    with StandIn("--unlimited", "--username", "svs_bot") as standin:
        in_the_journal(standin)


def talk(standin, number):
    """One question of somebody with a hostile name, and its answer."""
    name = {"first_name": HOSTILE, "last_name": HOSTILE}
    post(f"{standin.telegram}/control/user", {"id": 7, **name})
    before = len(standin.sent())
    standin.hears(f"{SECRET_WORDS} {number}")
    until(60, "an answer", lambda: len(standin.sent()) > before)


def fail(standin):
    """Telegram refuses some polls in a row, in hostile words."""
    fault = {"method": "getUpdates", "times": FAILURES, "refuse": [400, HOSTILE]}
    status, reply = post(f"{standin.telegram}/control/fault", fault)
    assert status == 200, reply


def in_a_file(standin, form):
    with tempfile.TemporaryDirectory(prefix="svs-logs-") as folder:
        log = pathlib.Path(folder) / "svs-bot.log"
        bot = Bot(TELEGRAM_API_URL=standin.telegram, GEMINI_API_URL=standin.gemini, LOG_FORMAT=form, LOG_FILE=log)
        with bot:
            until(60, "the log", lambda: log.exists() and "bot.known" in log.read_text())
            fail(standin)
            # The poll that is open ends with it.
            talk(standin, 1)
            until(90, "the failures", lambda: "poll.recovered" in log.read_text())
            first = log.read_text()
            for number in (2, 3):
                turn_over(log, bot.process.pid)
                # Whatever is said from now on is in the new file.
                until(60, "the new file", lambda: log.exists() and "settings" in log.read_text())
                talk(standin, number)
            assert not bot.log(), f"said beside the file: {bot.log()}"
        rest = (pathlib.Path(f"{log}.1").read_text(), log.read_text())
        with gzip.open(f"{log}.2.gz", "rt") as old:
            assert old.read().startswith(first), "the oldest file lost something"
            old.seek(0)
            files = (old.read(), *rest)
        assert log.stat().st_mode & 0o777 == 0o640, oct(log.stat().st_mode)
        events = [event for text in files for event in read(form, text)]
        judge(form, events, "".join(files))
        assert "daemon.stopped" in files[2] and "daemon.started" in files[0], "a file holds what belongs to another"
    print(f"{form}: {len(events)} lines in three files")


def turn_over(log, pid):
    """The shipped settings, with this file, this user and a `systemctl` that has only one unit."""
    folder = log.parent
    settings = folder / "logrotate.conf"
    text = SHIPPED.read_text()
    assert "/var/log/svs-bot/svs-bot.log {" in text and "su svs-bot adm" in text, "the shipped file reads otherwise"
    text = text.replace("/var/log/svs-bot/svs-bot.log", str(log)).replace("svs-bot adm", "root root")
    settings.write_text(text)
    settings.chmod(0o600)
    systemctl = folder / "systemctl"
    wanted = "kill --kill-who=main --signal=HUP svs-bot.service"
    systemctl.write_text(f'#!/bin/sh\n[ "$*" = "{wanted}" ] || exit 1\nkill -HUP {pid}\ntouch {folder}/told\n')
    systemctl.chmod(0o755)
    told = folder / "told"
    told.unlink(missing_ok=True)
    done = subprocess.run(
        ["logrotate", "--force", "--verbose", "--state", str(folder / "state"), str(settings)],
        capture_output=True, text=True, env={"PATH": f"{folder}:{os.environ['PATH']}:/usr/sbin:/sbin"},
    )
    assert done.returncode == 0 and "error" not in done.stderr.lower(), done.stderr
    assert told.exists(), f"nobody was told: {done.stderr}"


def read(form, text):
    """(event, level) of each line; a line that is none fails."""
    assert text.endswith("\n")
    found = []
    for line in text.split("\n")[:-1]:
        if form == "json":
            fields = json.loads(line)
            assert {"ts", "level", "event", "msg"} <= set(fields) and "end" not in fields, line
            found.append((fields["event"], fields["level"]))
        else:
            match = LINES[form].fullmatch(line)
            assert match, f"{form}: not a line: {line!r}"
            found.append((match["event"], match["level"].lower()))
    return found


def judge(form, events, text):
    names = [event for event, _ in events]
    assert "forged" not in names and "panic" not in names, names
    assert SECRET_WORDS not in text, "people's words are in the log"
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u2028]", text), "a control character is in the log"
    # Refused again and again in the same words: one line, and one at its end.
    for event, level in (("poll.failed", "warn"), ("poll.recovered", "info")):
        assert names.count(event) == 1, f"{form}: {names.count(event)} lines of {event}"
        assert (event, level) in events, events
    assert names.count("daemon.started") == names.count("daemon.stopped") == 1, names
    # `times` in whatever spelling: json quotes it.
    assert re.search(rf'times"?[=:]"?{FAILURES}\b', text), f"{form}: how often is not told"


def in_the_journal(standin):
    mount("-t", "tmpfs", "none", "/run")
    # The journal of this machine's kernel is nobody's business here.
    mount("--bind", "/dev/null", "/dev/kmsg")
    pathlib.Path("/run/systemd/journal").mkdir(parents=True)
    journald = subprocess.Popen(["/lib/systemd/systemd-journald"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(30, "journald", lambda: pathlib.Path("/run/systemd/journal/stdout").exists())
        # As a unit's process finds it.
        shell = 'JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@"'
        wrap = ("systemd-cat", "--identifier=svs-bot", "sh", "-c", shell, "sh")
        with Bot(wrap=wrap, TELEGRAM_API_URL=standin.telegram, GEMINI_API_URL=standin.gemini):
            until(60, "the journal", lambda: "bot.known" in dict(journal()))
            fail(standin)
            talk(standin, 1)
            until(90, "the failures", lambda: "poll.recovered" in dict(journal()))
        lines = journal()
        found = dict(lines)
        for event, priority in PRIORITIES.items():
            assert found.get(event) == priority, f"{event} has priority {found.get(event)}: {lines}"
        assert "forged" not in found and "panic" not in found, lines
        warnings = [event for event, priority in lines if priority <= "4"]
        assert warnings.count("poll.failed") == 1, warnings
    finally:
        journald.send_signal(signal.SIGTERM)
        journald.wait(timeout=30)
    print(f"journald: {len(lines)} lines, {len(warnings)} of them warnings")


def journal():
    """(event, priority) of the bot's lines."""
    subprocess.run(["journalctl", "--sync"], capture_output=True, check=True)
    done = subprocess.run(
        ["journalctl", "--output=json", "--no-pager", "--identifier=svs-bot"], capture_output=True, text=True
    )
    lines = []
    for line in done.stdout.splitlines():
        fields = json.loads(line)
        # journald gives what it cannot print as a list of bytes; no line of ours is such a one.
        assert isinstance(fields["MESSAGE"], str), fields["MESSAGE"]
        assert re.match(r"[a-z._]+: ", fields["MESSAGE"]), f"a line without an event: {fields['MESSAGE']!r}"
        lines.append((fields["MESSAGE"].split(": ")[0], fields["PRIORITY"]))
    return lines


if __name__ == "__main__":
    main()
