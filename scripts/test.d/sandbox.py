#!/usr/bin/env python3
"""The programs really run under the system call filters of the units, where a forbidden call kills.

`sandbox.py` runs the check; `sandbox.py --under UNIT [--refuse] COMMAND…` runs one command under a unit's filter:
its SystemCallFilter, RestrictAddressFamilies and MemoryDenyWriteExecute, by libseccomp, which systemd brings.
"""

import ctypes
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from bot import Bot, until
from standin import ROOT, StandIn

UNITS = ROOT / "scripts"
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, EAFNOSUPPORT = 1, 97
EQ, MASKED_EQ = 4, 7
WRITE, EXEC = 2, 4
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
FAMILIES_MAX = 46
NO_NEW_PRIVS = 38
ME = os.path.abspath(__file__)


def settings(unit):
    found = {}
    for line in (UNITS / unit).read_text().splitlines():
        name, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def groups():
    """The groups of system calls, as this systemd has them."""
    text = subprocess.run(["systemd-analyze", "syscall-filter"], check=True, capture_output=True, text=True).stdout
    found, name = {}, None
    for line in text.splitlines():
        word = line.strip()
        if line.startswith("@"):
            name = word
            found[name] = []
        elif word and not word.startswith("#") and line[0].isspace():
            found[name].append(word)
        elif word.startswith("#") and not line[0].isspace():
            name = "#rest"
            found.setdefault(name, [])
    return found


def expanded(words, known):
    calls = set()
    for word in words:
        calls |= expanded(known[word], known) if word.startswith("@") else {word}
    return calls


def allowed(unit):
    """The names of the calls that the unit permits."""
    known, calls = groups(), set()
    lists = settings(unit)["SystemCallFilter"]
    assert not lists[0].startswith("~"), f"{unit}: the first list must be what is permitted"
    for words in lists:
        if words.startswith("~"):
            calls -= expanded(words[1:].split(), known)
        else:
            calls |= expanded(words.split(), known)
    return calls | expanded(["@default"], known)


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def confine(unit, otherwise):
    """From here on this process and its children have only what the unit permits."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Compare)]
    context = library.seccomp_init(otherwise)

    def rule(action, name, *compare):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            rows = (Compare * max(1, len(compare)))(*compare)
            code = library.seccomp_rule_add_array(context, action, number, len(compare), rows)
            assert code == 0, f"{name}: {os.strerror(-code)}"

    found = settings(unit)
    families = {FAMILIES[name] for name in " ".join(found["RestrictAddressFamilies"]).split()}
    assert found["MemoryDenyWriteExecute"] == ["yes"]
    for name in allowed(unit):
        if name == "socket":
            for family in range(FAMILIES_MAX):
                rule(ALLOW if family in families else ERRNO | EAFNOSUPPORT, name, Compare(0, EQ, family, 0))
        elif name == "mmap":
            for bits in (0, WRITE, EXEC):
                rule(ALLOW, name, Compare(2, MASKED_EQ, WRITE | EXEC, bits))
        elif name in ("mprotect", "pkey_mprotect"):
            rule(ALLOW, name, Compare(2, MASKED_EQ, EXEC, 0))
        else:
            rule(ALLOW, name)
    assert ctypes.CDLL(None).prctl(NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    code = library.seccomp_load(context)
    assert code == 0, f"the filter cannot be loaded: {os.strerror(-code)}"


def under(unit, *words):
    return [sys.executable, ME, "--under", unit, *words]


def ends(unit, code, *command):
    done = subprocess.run(under(unit, *command), capture_output=True, text=True, timeout=60)
    assert done.returncode == code, f"{unit}: {command}: {done.returncode}, wanted {code}: {done.stderr[-2000:]}"


def the_filter_bites():
    """What must not work does not, or all that follows proves nothing."""
    true = shutil.which("true")
    for unit in ("svs-bot.service", "svs-bot-sync.service", "svs-bot-backup.service"):
        ends(unit, 0, true)
        ends(unit, -signal.SIGSYS, sys.executable, "-c", "import os; os.chroot('/')")
        ends(unit, -signal.SIGSYS, sys.executable, "-c", "import mmap; mmap.mmap(-1, 4096, prot=7)")
        ends(unit, 1, "--refuse", sys.executable, "-c", "import os; os.chroot('/')")
        # A kernel's own socket: refused, as systemd does, and not killed for.
        ends(unit, 97, sys.executable, "-c",
             "import socket, sys\ntry: socket.socket(16, 3)\nexcept OSError as it: sys.exit(it.errno)")
    ends("svs-bot.service", -signal.SIGSYS, sys.executable, "-c", "import os; os.chown('/nowhere', 0, 0)")


def limits():
    found = settings("svs-bot.service")
    for name, what in (("LimitNOFILE", resource.RLIMIT_NOFILE), ("LimitCORE", resource.RLIMIT_CORE)):
        value = int(found[name][0])
        resource.setrlimit(what, (value, value))


def the_daemon(standin):
    """Polls, resolves a name, answers, synchronises, reads its settings again, tells systemd, serves, ends."""
    with tempfile.TemporaryDirectory(prefix="svs-bot-sandbox-") as folder:
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.bind(f"{folder}/notify")
        told.settimeout(60)
        with socket.socket() as it:
            it.bind(("127.0.0.1", 0))
            port = it.getsockname()[1]
        by_name = {name: url.replace("127.0.0.1", "localhost") for name, url in
                   (("TELEGRAM_API_URL", standin.telegram), ("GEMINI_API_URL", standin.gemini))}
        service = {"NOTIFY_SOCKET": f"{folder}/notify", "WATCHDOG_USEC": "60000000"}
        with Bot(wrap=under("svs-bot.service"), environment=service, HTTP_ADDR=f"127.0.0.1:{port}", SYNC_INTERVAL="1s",
                 SUPABASE_URL=standin.postgrest, SUPABASE_KEY="sb_secret_standin", STREAM="edit", **by_name) as bot:
            heard = b""
            while b"READY=1" not in heard:
                heard = told.recv(4096)
            for text in ("hello", "/status", "/export"):
                standin.hears(text)
            until(60, "three answers", lambda: len(standin.sent()) >= 3)
            until(60, "a row in Supabase", lambda: sent_rows(port) >= 1)
            for path in ("/healthz", "/readyz", "/status.json", "/"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30).read()
            bot.process.send_signal(signal.SIGHUP)
            until(60, "the settings read again", lambda: "settings read again" in bot.log())
            data = bot.path / "data"
            for unit, words in (("svs-bot-sync.service", ["sync"]), ("svs-bot.service", ["check"]),
                                ("svs-bot.service", ["status"]), ("svs-bot.service", ["drain"])):
                command = [bot.program, *words, "--env-file", str(bot.path / "env"), "--data-dir", str(data)]
                done = subprocess.run(under(unit, *command), capture_output=True, text=True, timeout=120)
                assert done.returncode == 0, f"{words}: {done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}"
                # The filter lets the program close itself to core dumps.
                assert words != ["check"] or "none is written, wherever this program crashes" in done.stdout, done.stdout
            assert "dumps.allowed" not in bot.log(), bot.log()[-2000:]
            assert bot.process.wait(timeout=60) == 0, bot.log()[-2000:]
            the_backup(bot.program, data, pathlib.Path(folder) / "copies")


def sent_rows(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as reply:
        text = reply.read().decode()
    found = re.findall(r'^svs_bot_sync_rows_total\{table="chat_history",outcome="sent"\} (\d+)', text, re.M)
    return int(found[0]) if found else 0


def the_backup(program, data, copies):
    """The nightly unit's own commands; its shell and tools may be refused something, as systemd would, and go on."""
    copies.mkdir(mode=0o700)
    env = {"PATH": os.environ["PATH"], "DATA_DIR": str(data), "SVS_BOT": program}
    for line in settings("svs-bot-backup.service")["ExecStart"]:
        words = line.replace("/usr/local/lib/svs-bot/", f"{UNITS}/").replace("/var/lib/svs-bot-backup", str(copies)).split()
        done = subprocess.run(under("svs-bot-backup.service", "--refuse", *words), env=env, capture_output=True, text=True,
                              timeout=120)
        assert done.returncode == 0, f"{line}: {done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}"
    assert list(copies.glob("svs-bot-*.db.*")), "no snapshot was made"


def main():
    if sys.argv[1:2] == ["--under"]:
        unit, *words = sys.argv[2:]
        refuse = words[0] == "--refuse"
        words = words[1:] if refuse else words
        if unit == "svs-bot.service":
            limits()
        confine(unit, ERRNO | EPERM if refuse else KILL)
        os.execvp(words[0], words)
    if os.geteuid() == 0:
        # The units have a user: root's calls (SQLite's fchown is one) are not what they must permit.
        os.execvp("unshare", ["unshare", "--user", "--map-user=1000", "--map-group=1000", sys.executable, ME])
    the_filter_bites()
    with StandIn("--unlimited") as standin:
        the_daemon(standin)
    for unit in ("svs-bot.service", "svs-bot-sync.service", "svs-bot-backup.service"):
        print(f"{unit}: {len(allowed(unit))} calls permitted, what it starts lives with them")


main()
