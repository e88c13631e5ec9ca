#!/usr/bin/env python3
"""Every command of the guides is typed here, as it stands in the text, on a box of its own.

The box is a set of namespaces: its own processes, its own loopback and nothing beyond, and copies on write of
/etc, /usr/local, /var and /srv. In it sudo, ssh, systemctl, cargo and the compiler are stand-ins; svs-bot, its
scripts, SQLite, the users and the modes are real. Both languages must hold the same commands.
"""

import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from namespaces import enter, loopback_up, mount
from standin import ROOT, TOKEN, StandIn

# A text and its translation.
GUIDES = [("README.md", "docs/README.zh.md"), ("docs/operations.md", "docs/operations.zh.md")]
BLOCK_SECONDS_MAX = 120
STAND_INS = ROOT / "tests" / "scripts" / "box"
REASON_WORDS_MIN = 4
KEY = "AIza" + "g" * 35
# Who writes to the bot, and becomes its owner.
PERSON = 4242


# --- reading the guides --------------------------------------------------------------------------


class Block:
    """One fenced block of shell: its commands without their comments, and why it is not run, if it is not."""

    def __init__(self, guide, line, text, reason):
        self.guide, self.line, self.text, self.reason = guide, line, text, reason
        bare = (re.sub(r"(^|\s+)#.*$", "", it).strip() for it in text.splitlines())
        self.commands = [it for it in bare if it]

    def __str__(self):
        return f"{self.guide}:{self.line}"


def blocks(guide, text=None):
    found, problems, fence, reason = [], [], None, None
    text = (ROOT / guide).read_text() if text is None else text
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if fence is not None:
            if bare == "```":
                kind, start, lines = fence
                text = "\n".join(lines)
                if kind == "sh":
                    found.append(Block(guide, start, text, reason))
                elif kind != "text" or reason is not None:
                    problems.append(f"{guide}:{start}: a block of kind '{kind}': commands are ```sh, all else ```text")
                fence = reason = None
            else:
                fence[2].append(bare)
        elif bare.startswith("```"):
            fence = (bare[3:], number, [])
        elif bare.startswith("<!-- not run:"):
            reason = bare.removeprefix("<!-- not run:").removesuffix("-->").strip()
            if len(reason.split()) < REASON_WORDS_MIN:
                problems.append(f"{guide}:{number}: 'not run' without a reason")
        elif bare and reason is not None:
            problems.append(f"{guide}:{number}: 'not run' stands right above the block that it is about")
            reason = None
    return found, problems


def differences(one, other):
    problems = []
    for left, right in zip(one, other):
        if left.commands != right.commands:
            problems.append(f"{left} and {right} hold different commands:\n  {left.commands}\n  {right.commands}")
        if (left.reason is None) != (right.reason is None):
            problems.append(f"{left} and {right}: one is marked 'not run', the other is not")
    if len(one) != len(other):
        problems.append(f"{one[0].guide} has {len(one)} blocks of commands, {other[0].guide} {len(other)}")
    return problems


def planted():
    """What the checks above must find; what they miss is a problem of its own."""
    good = "<!-- not run: it needs a real host -->\n```sh\na # one\n```\n```sh\nb 1\n```\n"
    cases = [("another command", good.replace("b 1", "b 2")), ("a block too many", good + "```sh\nc\n```\n"),
             ("a marker on one side", good.partition("\n")[2])]
    one = blocks("one", good)[0]
    missed = [name for name, text in cases if not differences(one, blocks("other", text)[0])]
    missed += [] if not differences(one, blocks("other", good.replace("one", "二"))[0]) else ["another comment is no difference"]
    for name, text in [("no reason", good.replace("it needs a real host", "no")), ("another language", good.replace("```sh", "```bash")),
                       ("a marker without a block", good.replace("-->", "-->\nwords"))]:
        missed += [] if blocks("one", text)[1] else [name]
    return [f"planted and not found: {name}" for name in missed]


# --- the box -------------------------------------------------------------------------------------


class Box:
    """What a scene is played on; made inside the namespaces, gone with them."""

    def __init__(self, machine):
        self.folder = pathlib.Path(os.environ["GUIDE_SCRATCH"])
        layers = self.folder / "layers"
        layers.mkdir()
        mount("-t", "tmpfs", "-o", "mode=0755", "layers", str(layers))
        for name in ("etc", "usr/local", "var", "srv"):
            upper, work = layers / "upper" / name, layers / "work" / name
            upper.mkdir(parents=True)
            work.mkdir(parents=True)
            mount("-t", "overlay", "-o", f"lowerdir=/{name},upperdir={upper},workdir={work}", "box", f"/{name}")
        mount("-t", "tmpfs", "-o", "mode=0755", "run", "/run")
        pathlib.Path("/run/systemd/system").mkdir(parents=True)
        pathlib.Path("/etc/cron.d").mkdir(exist_ok=True)
        # A box on which nothing of ours has ever been.
        for place in ("/etc/svs-bot", "/var/lib/svs-bot", "/var/lib/svs-bot-backup", "/usr/local/lib/svs-bot"):
            shutil.rmtree(place, ignore_errors=True)
        loopback_up()
        self.sources = self.folder / "sources"
        self.copy_sources()
        self.make_tools(machine)
        self.standin = StandIn("--unlimited")
        self.standin.__enter__()
        self.env = {
            "PATH": f"{self.folder}/tools:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root", "TERM": "dumb", "LANG": "C.UTF-8",
            "TELEGRAM_API_URL": self.standin.telegram, "GEMINI_API_URL": self.standin.gemini,
            "SVS_BOT_CACHE": str(self.folder / "cache"), "FAKE": str(self.folder / "moods"),
            "FAKE_BOT": "/usr/local/libexec/svs-bot", "FAKE_SYSROOT": str(self.folder / "sysroot"),
            "FAKE_MACHINE": machine, "FAKE_SETTINGS": str(self.folder / "settings"),
        }
        (self.folder / "settings").write_text(f"TELEGRAM_BOT_TOKEN={TOKEN}\nGROUP_A_KEYS={KEY}\n")

    def copy_sources(self):
        files = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others",
                                "--exclude-standard"], cwd=ROOT, check=True, capture_output=True).stdout
        for name in filter(None, files.decode().split("\0")):
            if (ROOT / name).is_file():
                target = self.sources / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target)
        subprocess.run(["git", "init", "--quiet", str(self.sources)], check=True)
        # Minutes of watching are for a real move.
        script = self.sources / "scripts" / "cutover.sh"
        script.write_text(script.read_text().replace("watch=5m", "watch=2s").replace("LOOK_SECONDS=5", "LOOK_SECONDS=1"))
        # It asks cargo for every crate, and a box has neither network nor crates; the step `deny` judges the real one.
        (self.sources / "cross" / "sbom.py").write_text("print('{}')\n")

    def make_tools(self, machine):
        shutil.copytree(STAND_INS, self.folder / "tools")
        for name in ("qemu-aarch64-static", "qemu-arm-static", "qemu-x86_64-static"):
            (self.folder / "tools" / name).symlink_to("qemu")
        (self.folder / "tools" / "scp").symlink_to("ssh")
        zig = self.folder / "cache" / "zig"
        (zig / "bin").mkdir(parents=True)
        (zig / "lib" / "ziglang").mkdir(parents=True)
        shutil.copy(ROOT / "tests/scripts/stand-in-cargo-zigbuild.sh", zig / "bin" / "cargo-zigbuild")
        shutil.copy("/bin/true", zig / "lib" / "ziglang" / "zig")
        text = (ROOT / "cross" / "build.sh").read_text()
        wanted = [re.search(rf"^{name}=(\S+)$", text, re.M).group(1) for name in ("ZIGLANG", "CARGO_ZIGBUILD")]
        (zig / "versions").write_text(" ".join(wanted))
        for target in ("x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl", "armv7-unknown-linux-musleabihf"):
            (self.folder / "sysroot" / "lib" / "rustlib" / target / "lib").mkdir(parents=True)
        (self.folder / "moods").mkdir()
        program = os.environ.get("SVS_BOT", str(ROOT / "target" / "debug" / "svs-bot"))
        pathlib.Path("/usr/local/libexec").mkdir(exist_ok=True)
        shutil.copy(program, "/usr/local/libexec/svs-bot")

    def type(self, text, answers=()):
        """Types a block into a shell on a terminal, answers what it asks, and gives what was seen."""
        answers = list(answers)
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(self.sources)
            os.execvpe("bash", ["bash", "-euo", "pipefail", "-c", text], self.env)
        seen, looked, end, status = "", 0, time.monotonic() + BLOCK_SECONDS_MAX, None
        while status is None or select.select([terminal], [], [], 0)[0]:
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
                raise AssertionError(f"not done after {BLOCK_SECONDS_MAX} s:\n{seen}")
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    new = os.read(terminal, 65536)
                except OSError:
                    new = b""
                if not new and status is None:
                    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                if not new:
                    break
                seen += new.decode(errors="replace")
            elif status is None:
                ended, code = os.waitpid(child, os.WNOHANG)
                status = os.waitstatus_to_exitcode(code) if ended else None
            if answers and (found := re.compile(answers[0][0]).search(seen, looked)):
                looked = found.end()
                reply = answers.pop(0)[1]
                if callable(reply):
                    reply(found)
                else:
                    os.write(terminal, reply.encode())
        os.close(terminal)
        assert status == 0, f"exit {status}:\n{seen}"
        assert not answers, f"never asked for {answers[0][0]}:\n{seen}"
        return seen

    def run(self, command):
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=self.sources, env=self.env,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BLOCK_SECONDS_MAX)
        assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def says(self, text, wanted):
        """The bot's answer to a person holds these words."""
        before = len(self.standin.sent())
        self.standin.hears(text, PERSON)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if any(wanted in json.dumps(it, ensure_ascii=False) for it in self.standin.sent()[before:]):
                return
            time.sleep(0.2)
        raise AssertionError(f"the bot does not answer '{text}' with '{wanted}': {self.standin.sent()[before:]}")


# --- scenes: what is there before a block, what a person answers, what must hold after it --------

LINK = r"https://t\.me/standin_bot\?start=([0-9a-f]{32})"


def bare(_):
    pass


def old_bot(box):
    """The Python bot runs, with its settings; svs-bot has been built."""
    pathlib.Path("/srv/old-bot").mkdir(parents=True)
    pathlib.Path("/srv/old-bot/.env").write_text(
        f"TELEGRAM_BOT_SVSKILO_TOKEN={TOKEN}\nGEMINI_API_KEY={KEY}\nSUPABASE_URL={box.standin.postgrest}\n"
        "SUPABASE_SERVICE_ROLE_KEY=sb_secret_standin\n")
    pathlib.Path("/etc/systemd/system").mkdir(parents=True, exist_ok=True)
    pathlib.Path("/etc/systemd/system/svs-bot-python.service").write_text("[Service]\nExecStart=/bin/sleep infinity\n")
    box.run("systemctl enable --now svs-bot-python && cross/build.sh $FAKE_MACHINE")


def running(box):
    """svs-bot is installed, runs and has answered."""
    box.run("cross/build.sh $FAKE_MACHINE && scripts/install.sh --local --env $FAKE_SETTINGS")
    box.says("hello", "hello")


# A command of the first block of a scene; what is on the box before it.
FRESH = [
    ("cargo run --release -- demo", bare),
    ("scripts/install.sh --local --no-start", old_bot),
    ("cross/build.sh x86_64", bare),
    ("sudo systemctl enable --now svs-bot-backup.timer", running),
    ("scripts/install.sh HOST --rollback", lambda box: (running(box), box.run(
        "rm dist/* && sed -i 's/^version = .*/version = \"9.9.9\"/' Cargo.toml && cross/build.sh $FAKE_MACHINE"))),
    ("scripts/test --list", bare),
]


def active(unit, wanted=True):
    return lambda box, _: box.run(f"{'' if wanted else '! '}systemctl is-active {unit}")


def seen(*words):
    def check(_, text):
        for word in words:
            assert re.search(word, text), f"no '{word}' in:\n{text}"
    return check


def replies(text, wanted):
    return lambda box, _: box.says(text, wanted)


# What a person types or does when a block with this command asks for it.
ANSWERS = {
    "cargo run --release -- demo": lambda box: [(r"> $", "hello demo\n"), (r"You wrote:\s+hello demo[\s\S]*> $", "\x04")],
    "svs-bot init": lambda box: [
        ("Bot token from @BotFather: ", TOKEN + "\n"), ("Gemini key 1: ", KEY + "\n"), (r"Gemini key 2 .*: ", "\n"),
        (r"Supabase URL .*: ", "\n"), (LINK, lambda it: box.standin.hears(f"/start {it.group(1)}", PERSON))],
    "svs-bot owner-link": lambda box: [(LINK, lambda it: box.standin.hears(f"/start {it.group(1)}", PERSON))],
}

# What must hold after a block with this command. Each block needs one.
AFTER = [
    ("cargo run --release -- demo", [seen("hello demo")]),
    ("cross/build.sh aarch64", [seen("aarch64-unknown-linux-musl: static", r"svs-bot-\S+-aarch64-unknown-linux-musl")]),
    ("scripts/install.sh HOST --rollback", [
        seen("put +svs-bot 9.9.9", "now +svs-bot [0-8]", "removed the service"), active("svs-bot", False),
        lambda box, _: box.run("test -s /etc/svs-bot/env -a -s /var/lib/svs-bot/svs-bot.db -a ! -e /usr/local/bin/svs-bot")]),
    ("scripts/install.sh HOST", [seen("put +svs-bot", "not started: the settings are not complete")]),
    ("svs-bot init", [
        seen("owner: 4242"),
        lambda box, _: box.run("test \"$(stat -c '%a %U %G' /etc/svs-bot/env)\" = '640 root svs-bot'"),
        lambda box, text: seen_nothing(text, TOKEN, KEY)]),
    ("svs-bot owner-link", [active("svs-bot"), replies("/keys", "…gggg")]),
    ("sudo systemctl enable --now svs-bot-sync.timer", [active("svs-bot-sync.timer"), lambda box, _: box.run("test -s /etc/cron.d/svs-bot-sync")]),
    ("sudo systemctl enable --now svs-bot-backup.timer", [
        seen("checked", "good: whole", "restored; newest entry"), active("svs-bot"), replies("after the restore", "after the restore"),
        lambda box, _: by_cron(box, "svs-bot-backup", "/var/lib/svs-bot-backup/*.zst")]),
    ("sudo systemctl enable --now svs-bot", [active("svs-bot"), seen("ok +telegram", "0 failed", "state +ready"), replies("/keys", "…gggg")]),
    ("sudo scripts/rollback.sh --old svs-bot-python", [active("svs-bot", False), active("svs-bot-python"), seen("drained")]),
    ("sudo scripts/cutover.sh", [active("svs-bot"), active("svs-bot-python", False), replies("moved?", "moved?")]),
    ("scripts/rollback.sh", [active("svs-bot", False), active("svs-bot-python"), seen("healthy for 2s", "drained")]),
    ("scripts/test --list", [seen("test +all Rust tests", "sync +13", "both builds have the same bytes", "armv7")]),
]


def by_cron(box, name, makes):
    """The line of a crontab, as cron would run it: silent, and something new is there."""
    lines = pathlib.Path("/etc/cron.d", name).read_text().splitlines()
    settings = [it for it in lines if re.match(r"[A-Z_]+=", it)]
    user, command = re.match(r"(?:\S+ ){5}(\S+) (.+)", [it for it in lines if it and it[0].isdigit()][0]).groups()
    before = set(pathlib.Path("/").glob(makes[1:]))
    time.sleep(1.1)
    said = box.run(f"runuser -u {user} -- env -i PATH=/usr/bin:/bin {' '.join(settings)} sh -c '{command}'")
    assert not said, f"{name} says: {said}"
    assert set(pathlib.Path("/").glob(makes[1:])) - before, f"{name} made no {makes}"


def seen_nothing(text, *secrets):
    for secret in secrets:
        assert secret not in text, "a secret was echoed"


def lookup(table, block):
    """By a command of the block; the first row of the table that fits."""
    for wanted, value in table:
        if any(wanted in command for command in block.commands):
            return value
    return None


def play(guide, first):
    """Inside the namespaces: the scene that begins with block `first` of the guide."""
    found = blocks(guide)[0]
    machine = "aarch64" if "README" in guide else "x86_64"
    box = Box(machine)
    lookup(FRESH, found[first])(box)
    for block in found[first:]:
        if block.reason is not None:
            continue
        if block is not found[first] and lookup(FRESH, block):
            break
        answers = lookup(ANSWERS.items(), block)
        checks = lookup(AFTER, block)
        try:
            assert checks, "no check: say in AFTER what must hold after it"
            text = box.type(block.text, answers(box) if answers else ())
            for check in checks:
                check(box, text)
        except Exception as error:  # the place in the guide is what a reader needs first
            log = pathlib.Path("/var/log/svs-bot-units.log")
            print(f"{block}: {error}\n--- log of the units\n{log.read_text()[-3000:] if log.exists() else ''}")
            return 1
        print(f"{block}: {len(block.commands)} commands", flush=True)
    return 0


def main():
    if sys.argv[1:2] == ["--scene"]:
        return play(sys.argv[2], int(sys.argv[3]))
    problems, scenes, count = planted(), [], 0
    for pair in GUIDES:
        both = []
        for guide in pair:
            found, wrong = blocks(guide)
            problems += wrong
            both.append(found)
            count += sum(len(block.commands) for block in found if block.reason is None)
            starts = [number for number, block in enumerate(found) if block.reason is None and lookup(FRESH, block)]
            # The commands are the same in both languages, so the translation is compared and not played again.
            if guide == pair[0]:
                scenes += [(guide, start) for start in starts]
        problems += differences(*both)
    for problem in problems:
        print(problem)
    failed = len(problems)
    for guide, start in scenes if not problems else ():
        with tempfile.TemporaryDirectory(prefix="svs-bot-guide-") as scratch:
            os.chmod(scratch, 0o755)
            command = enter([sys.executable, os.path.abspath(__file__), "--scene", guide, str(start)])
            # The users and owners that an installation makes need the real root.
            if os.geteuid() != 0:
                command = ["sudo", "--non-interactive", "--preserve-env", *(it for it in command if it != "--map-root-user")]
            failed += subprocess.run(command, env={**os.environ, "GUIDE_SCRATCH": scratch}).returncode != 0
    if not failed:
        print(f"{count} commands in {sum(map(len, GUIDES))} guides hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
