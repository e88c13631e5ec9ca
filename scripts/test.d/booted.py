#!/usr/bin/env python3
"""The units under a booted systemd: installed, ready, hung, killed, moved over and back.

The box is a container of `systemd-nspawn`: this machine's own files below an overlay that is thrown away, with its own
processes, loopback, /run and /tmp. It needs root and the packages systemd and systemd-container.
"""

import contextlib
import errno
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from bot import until
from standin import ROOT, TOKEN, StandIn

PATIENCE_S = 120
BOX_SECONDS_MAX = 600
PROGRAM = pathlib.Path(os.environ.get("SVS_BOT", str(ROOT / "target" / "debug" / "svs-bot")))
SCRIPTS = ROOT / "scripts"
BIN, ETC, DATA = (pathlib.Path(it) for it in ("/usr/local/bin/svs-bot", "/etc/svs-bot", "/var/lib/svs-bot"))
DROP_IN = pathlib.Path("/etc/systemd/system/svs-bot.service.d")
KEY = "AIza" + "b" * 35
OLD = "svs-bot-python"
MEMORY_MAX_BYTES = 96 * 1024 * 1024
# The word of the kernel for a memory limit, in either generation of control groups.
LIMITS = ("/sys/fs/cgroup/memory/system.slice/svs-bot.service/memory.limit_in_bytes",
          "/sys/fs/cgroup/system.slice/svs-bot.service/memory.max")

CHECK_UNIT = """[Unit]
DefaultDependencies=no
Requires=basic.target
After=basic.target

[Service]
Type=oneshot
StandardOutput=file:{out}/said
StandardError=inherit
Environment=SVS_BOT={program} STANDIN={standin} PATH={path} HOME=/root LANG=C.UTF-8
ExecStart={python} {me} --inside
ExecStopPost=/bin/sh -c 'echo "$EXIT_STATUS" >{out}/status; exec systemctl exit'
"""


# --- outside: the box ----------------------------------------------------------------------------


def enter():
    """A mount namespace of our own, so that nothing stays mounted whatever happens."""
    for name in ("systemd-nspawn", "unshare"):
        assert shutil.which(name), f"{name} is missing: install the packages systemd-container and util-linux"
    assert os.geteuid() == 0, "a booted systemd: needs root: run scripts/test --only booted as root"
    with tempfile.TemporaryDirectory(prefix="svs-bot-booted-") as scratch:
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, os.path.abspath(__file__), "--boot", scratch]
        return subprocess.run(command, stdin=subprocess.DEVNULL).returncode


def boot(scratch):
    layers, out = scratch / "layers", scratch / "out"
    for folder in (layers, out):
        folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "layers", layers], check=True)
    for name in ("upper", "work", "root", "programs"):
        (layers / name).mkdir()
    root = layers / "root"
    options = f"lowerdir=/,upperdir={layers}/upper,workdir={layers}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "box", root], check=True)
    units = root / "etc" / "systemd" / "system"
    # Nothing that this machine starts by itself, and nothing of ours that was ever installed on it.
    for found in [*units.glob("*.wants"), *units.glob("*.requires"), *units.glob("svs-bot*")]:
        shutil.rmtree(found) if found.is_dir() and not found.is_symlink() else found.unlink()
    for place in ("etc/svs-bot", "var/lib/svs-bot", "var/lib/svs-bot-backup", "usr/local/lib/svs-bot"):
        shutil.rmtree(root / place, ignore_errors=True)
    (root / "svs-bot-check").mkdir()
    units.joinpath("svs-bot-check.service").write_text(CHECK_UNIT.format(
        out="/svs-bot-check", program=PROGRAM.resolve(), python=sys.executable, me=os.path.abspath(__file__), path=os.environ["PATH"],
        standin=pathlib.Path(os.environ.get("STANDIN", ROOT / "target" / "debug" / "examples" / "standin")).resolve()))
    units.joinpath("svs-bot-check.target").write_text("[Unit]\nRequires=basic.target\nWants=svs-bot-check.service\nAllowIsolate=yes\n")
    name = f"svs-bot-{os.getpid()}"
    command = ["systemd-nspawn", "--quiet", "--directory", root, "--boot", "--private-network", "--register=no", "--keep-unit",
               f"--machine={name}", "--link-journal=no", f"--bind={out}:/svs-bot-check", "systemd.unit=svs-bot-check.target"]
    with open(out / "console", "wb") as console:
        # Ended by a signal to the leader only: it takes its box along.
        box = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        try:
            box.wait(timeout=BOX_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            box.kill()
            box.wait()
    with contextlib.suppress(OSError):
        os.rmdir(f"/run/systemd/nspawn/propagate/{name}")
    for hierarchy in ("systemd", "unified", "."):
        remove_empty(pathlib.Path("/sys/fs/cgroup", hierarchy, "payload"))
        remove_empty(pathlib.Path("/sys/fs/cgroup", hierarchy, "supervisor"))
    said, status = out / "said", out / "status"
    print(said.read_text() if said.exists() else "nothing was said", end="")
    if status.exists() and status.read_text().strip() == "0":
        return 0
    print("--- console\n" + (out / "console").read_text(errors="replace")[-4000:])
    return 1


def remove_empty(group):
    """The control groups that a box leaves where no systemd runs outside of it; what is in use stays."""
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


# --- inside: what must hold ----------------------------------------------------------------------


def run(*words, code=0):
    done = subprocess.run([str(it) for it in words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    said = done.stdout + done.stderr
    assert done.returncode == code, f"{words}: exit {done.returncode} instead of {code}:\n{said}"
    return said


def show(field, unit="svs-bot"):
    return run("systemctl", "show", "--property", field, "--value", unit).strip()


def pid():
    return int(show("MainPID"))


def active(unit):
    return subprocess.run(["systemctl", "is-active", "--quiet", unit]).returncode == 0


def journal(unit="svs-bot"):
    return run("journalctl", "--unit", unit, "--output", "cat", "--no-pager")


def answers(standin, words):
    standin.hears(words)
    until(PATIENCE_S, f"an answer to '{words}'", lambda: standin.has_sent(words))


def drop_in(name, *lines):
    DROP_IN.mkdir(exist_ok=True)
    (DROP_IN / f"{name}.conf").write_text("[Service]\n" + "".join(f"{line}\n" for line in lines))
    run("systemctl", "daemon-reload")


def settings(standin, *, token=True, **more):
    values = {"TELEGRAM_BOT_TOKEN": TOKEN if token else "", "GROUP_A_KEYS": KEY, "TELEGRAM_API_URL": standin.telegram,
              "GEMINI_API_URL": standin.gemini, "SUPABASE_URL": standin.postgrest, "SUPABASE_KEY": "sb_secret_standin",
              "KEY_MIN_INTERVAL": "0", "STREAM": "off", "DATA_DIR": str(DATA), **more}
    return "".join(f"{name}={value}\n" for name, value in values.items() if value)


def rewrite_settings(text):
    # In place: owner and mode are those that install.sh gave.
    (ETC / "env").write_text(text)


def is_static(program):
    return "INTERP" not in run("readelf", "--wide", "--program-headers", program)


def installs_and_is_ready(standin):
    if not is_static(PROGRAM):
        # The sandbox lets nothing but the program be mapped as code; a build that is not static needs its libraries.
        drop_in("dynamic", "ExecPaths=/usr/lib /lib64")
    # Its own folder: the file with the token is for root alone.
    given = pathlib.Path("/root/given.env")
    given.write_text(settings(standin))
    said = run(SCRIPTS / "install.sh", "--local", "--binary", PROGRAM, "--env", given)
    assert "running" in said, said
    assert show("Type") == "notify" and active("svs-bot") and run("systemctl", "is-enabled", "svs-bot").strip() == "enabled"
    # `Type=notify`: active means that the program itself has said so.
    answers(standin, "under a real systemd")
    owner = ETC.joinpath("env").stat()
    assert oct(owner.st_mode & 0o777) == "0o640" and ETC.joinpath("env").group() == "svs-bot", owner


def lives_in_its_sandbox(_):
    status = pathlib.Path(f"/proc/{pid()}/status").read_text()
    for wanted in (r"NoNewPrivs:\t1", r"Seccomp:\t2", r"CapEff:\t0{16}", r"CapBnd:\t0{16}"):
        assert re.search(wanted, status), f"{wanted} not in:\n{status}"
    assert pathlib.Path(f"/proc/{pid()}").owner() == "svs-bot"
    for kind in ("user", "mnt", "ipc"):
        assert os.readlink(f"/proc/{pid()}/ns/{kind}") != os.readlink(f"/proc/1/ns/{kind}"), f"no {kind} namespace of its own"
    # With root's rights, so that modes do not answer for the mounts; by the way that leads into its namespace.
    root = pathlib.Path(f"/proc/{pid()}/root")
    for place in ("etc", "usr", "usr/local/bin", "var/lib"):
        try:
            root.joinpath(place, "probe").write_text("")
        except OSError as error:
            assert error.errno == errno.EROFS, f"/{place}: {error}"
        else:
            raise AssertionError(f"/{place} is writable")
    root.joinpath("var/lib/svs-bot/probe").write_text("")
    DATA.joinpath("probe").unlink()
    for place in ("root", "home", "tmp"):
        assert not list(root.joinpath(place).iterdir()), f"/{place} is seen"
    done = subprocess.run(["nsenter", "--target", str(pid()), "--mount", "true"], capture_output=True, text=True)
    assert "Permission denied" in done.stderr, f"something but the program can be started: {done}"
    assert show("MemoryMax") == str(MEMORY_MAX_BYTES), show("MemoryMax")
    limit = next((pathlib.Path(it).read_text().strip() for it in LIMITS if os.path.exists(it)), None)
    assert limit in (None, str(MEMORY_MAX_BYTES)), limit
    if limit is None:
        print("    not seen: the limit of memory in the kernel; this machine gives a box no control group for it", flush=True)


def takes_a_credential(standin):
    token = ETC / "telegram_bot_token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    rewrite_settings(settings(standin, token=False))
    drop_in("credential", f"LoadCredential=telegram_bot_token:{token}")
    run("systemctl", "restart", "svs-bot")
    answers(standin, "with a credential")
    environment = pathlib.Path(f"/proc/{pid()}/environ").read_text()
    assert "CREDENTIALS_DIRECTORY" in environment and TOKEN not in environment, "the token is in the environment"
    rewrite_settings(settings(standin))
    (DROP_IN / "credential.conf").unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "svs-bot")


def a_hung_one_is_restarted(standin):
    # The shipped minute would be waited for in vain: the mechanism is the same with seconds.
    drop_in("watchdog", "WatchdogSec=4s", "TimeoutAbortSec=2s", "RestartSec=1s")
    run("systemctl", "restart", "svs-bot")
    answers(standin, "before it hangs")
    # Fed by the loop: while it turns nothing happens for two watchdog times. A busy machine may stop it for longer
    # than four seconds once, but not each time.
    for _ in range(5):
        hung = until(PATIENCE_S, "a process", pid)
        time.sleep(9)
        if pid() == hung:
            break
    else:
        raise AssertionError("restarted although it turns")
    os.kill(hung, signal.SIGSTOP)
    until(PATIENCE_S, "another process", lambda: pid() not in (0, hung) and active("svs-bot"))
    assert "watchdog" in journal().lower(), journal()[-2000:]
    answers(standin, "after it hung")
    (DROP_IN / "watchdog.conf").unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "svs-bot")


def a_killed_one_is_restarted(standin):
    killed = pid()
    os.kill(killed, signal.SIGKILL)
    standin.hears("while it is dead")
    until(PATIENCE_S, "another process", lambda: pid() not in (0, killed) and active("svs-bot"))
    until(PATIENCE_S, "the answer", lambda: standin.has_sent("while it is dead"))


def settings_are_read_again(standin):
    before = pid()
    rewrite_settings(settings(standin, LOG_LEVEL="debug"))
    run("systemctl", "reload", "svs-bot")
    until(PATIENCE_S, "a word of the settings", lambda: "settings.reloaded" in journal() or "read again" in journal())
    assert pid() == before
    answers(standin, "after the reload")


def wrong_settings_do_not_spin(standin):
    rewrite_settings(settings(standin, WORKERS="many"))
    run("systemctl", "restart", "svs-bot", code=1)
    assert show("ExecMainStatus") == "2" and show("ActiveState") == "failed", show("ActiveState")
    # Past RestartSec it would be back in `activating`.
    time.sleep(7)
    assert show("ActiveState") == "failed" and show("NRestarts") == "0", show("NRestarts")
    rewrite_settings(settings(standin))
    run("systemctl", "start", "svs-bot")
    answers(standin, "with right settings")


def timers_fire(_):
    for name in ("sync", "backup"):
        run("systemctl", "enable", "--now", f"svs-bot-{name}.timer")
        assert show("NextElapseUSecRealtime", f"svs-bot-{name}.timer"), f"{name}: no next time"
    if not is_static(PROGRAM):
        folder = pathlib.Path("/etc/systemd/system/svs-bot-sync.service.d")
        folder.mkdir(exist_ok=True)
        shutil.copy(DROP_IN / "dynamic.conf", folder)
        run("systemctl", "daemon-reload")
    for name in ("sync", "backup"):
        run("systemctl", "start", f"svs-bot-{name}.service")
        assert show("Result", f"svs-bot-{name}.service") == "success", journal(f"svs-bot-{name}.service")
    copies = list(pathlib.Path("/var/lib/svs-bot-backup").glob("svs-bot-*"))
    assert copies, "no snapshot"
    run("systemctl", "disable", "--now", "svs-bot-sync.timer", "svs-bot-backup.timer")


def upgrades_and_goes_back(standin):
    newer = pathlib.Path("/root/newer")
    newer.write_bytes(PROGRAM.read_bytes() + b"\0")
    newer.chmod(0o755)
    said = run(SCRIPTS / "install.sh", "--local", "--binary", newer)
    assert "running" in said and "copied" in said, said
    answers(standin, "by the newer one")
    broken = pathlib.Path("/root/broken")
    # Says its version, and ends at once as a service.
    broken.write_text('#!/bin/sh\n[ "$1" != --version ] || { echo "svs-bot 9.9.9"; exit 0; }\nexit 1\n')
    broken.chmod(0o755)
    # The wait for a start that fails is for a slow box; here it may be short.
    script = pathlib.Path("/root/scripts")
    shutil.copytree(SCRIPTS, script, ignore=shutil.ignore_patterns(".cache"))
    install = script / "install.sh"
    install.write_text(install.read_text().replace("START_SECONDS_MAX=90", "START_SECONDS_MAX=10"))
    said = run(install, "--local", "--binary", broken, "--no-backup", code=1)
    assert "the old one runs again" in said, said
    answers(standin, "by the old one, after a broken upgrade")
    run(SCRIPTS / "install.sh", "--local", "--rollback", code=1)
    run(SCRIPTS / "install.sh", "--local", "--binary", PROGRAM, "--no-backup")
    answers(standin, "and upgraded once more")


def moves_over_and_back(standin):
    run("systemctl", "disable", "--now", "svs-bot")
    pathlib.Path(f"/etc/systemd/system/{OLD}.service").write_text(
        "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "--now", OLD)
    said = run(SCRIPTS / "cutover.sh", "--dry-run")
    assert f"stop and disable {OLD}" in said and active(OLD) and not active("svs-bot"), said
    said = run(SCRIPTS / "cutover.sh", "--watch", "6s")
    for wanted in (f"[x] stopped {OLD}", "[x] started svs-bot", "[x] healthy", "[ ] write /start"):
        assert wanted in said, said
    assert active("svs-bot") and not active(OLD)
    answers(standin, "after the move")
    began = time.monotonic()
    said = run(SCRIPTS / "rollback.sh", "--old", OLD)
    print(f"    back in {time.monotonic() - began:.0f} s", flush=True)
    assert "[x] drained" in said and active(OLD) and not active("svs-bot"), said
    # A drained one stays down, whatever `Restart=` says.
    assert show("Result") == "success" and show("NRestarts") == "0", journal()[-1000:]
    # A move that fails half-way: the new one ends while it is watched.
    rewrite_settings(settings(standin, HTTP_ADDR="127.0.0.1:1"))
    said = run(SCRIPTS / "cutover.sh", "--watch", "6s", "--no-import", code=1)
    assert f"going back to {OLD}" in said and active(OLD) and not active("svs-bot"), said
    rewrite_settings(settings(standin))
    run("systemctl", "disable", "--now", OLD)
    run("systemctl", "enable", "--now", "svs-bot")
    answers(standin, "after the move that failed")


def goes_without_a_trace(_):
    run(SCRIPTS / "uninstall.sh", "--local")
    assert not BIN.exists() and not active("svs-bot") and DATA.joinpath("svs-bot.db").exists()
    left = [it for it in pathlib.Path("/etc/systemd/system").glob("**/svs-bot*") if not it.name.startswith(("svs-bot-check", OLD))]
    assert [it for it in left if ".d" not in str(it)] == [], left


SCENES = [
    installs_and_is_ready, lives_in_its_sandbox, takes_a_credential, a_hung_one_is_restarted, a_killed_one_is_restarted,
    settings_are_read_again, wrong_settings_do_not_spin, timers_fire, upgrades_and_goes_back, moves_over_and_back, goes_without_a_trace,
]


def inside():
    # The console of a unit that fails is the journal of the box, which ends with it.
    failed = 0
    version = run("systemctl", "--version").splitlines()[0]
    print(f"{version}, {run('systemd-detect-virt').strip()}", flush=True)
    with StandIn("--unlimited") as standin:
        for scene in SCENES:
            name, began = scene.__name__.replace("_", " "), time.monotonic()
            try:
                scene(standin)
                print(f"holds: {name}, {time.monotonic() - began:.0f} s", flush=True)
            except Exception as error:
                failed = 1
                print(f"does not hold: {name}: {type(error).__name__}: {error}", flush=True)
                with contextlib.suppress(Exception):
                    print(json.dumps(journal().splitlines()[-25:], indent=1, ensure_ascii=False), flush=True)
                # The next scene builds on this one.
                break
    return failed


def main():
    if sys.argv[1:2] == ["--inside"]:
        return inside()
    if sys.argv[1:2] == ["--boot"]:
        return boot(pathlib.Path(sys.argv[2]))
    return enter()


if __name__ == "__main__":
    sys.exit(main())
