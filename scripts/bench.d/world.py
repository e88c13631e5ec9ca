"""The daemon beside the stand-ins, and what the kernel tells of it."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "test.d"))
from standin import TOKEN, StandIn, free_port, post  # noqa: E402

BINARY = os.environ.get("SVS_BOT", str(ROOT / "target" / "release" / "svs-bot"))
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# Many, each its own project: a minute's tokens of one would end before a bench does.
KEYS = ",".join(f"AIza{number:035}" for number in range(128))


class World:
    """Stand-ins and one data directory; `with World("--first-ms", "50") as world`."""

    def __init__(self, *options, tls=False):
        self.standin = StandIn("--unlimited", "--keep-last", "50000", *options)
        self.tls = tls
        self.fronts = []
        self.bots = []

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="svs-bot-bench-"))
        self.standin.__enter__()
        self.urls = {"TELEGRAM_API_URL": self.standin.telegram, "GEMINI_API_URL": self.standin.gemini}
        if self.tls:
            self.make_ca()
            for name, url in self.urls.items():
                port = free_port()
                self.fronts.append(subprocess.Popen(
                    [sys.executable, str(ROOT / "scripts/bench.d/tls_front.py"), str(self.folder),
                     str(port), url.rpartition(":")[2]]))
                wait_port(port)
                self.urls[name] = f"https://localhost:{port}"
        return self

    def __exit__(self, *_):
        for bot in self.bots:
            bot.kill()
        for front in self.fronts:
            front.terminate()
            front.wait()
        self.standin.__exit__()
        shutil.rmtree(self.folder, ignore_errors=True)

    def make_ca(self):
        def openssl(*words):
            subprocess.run(["openssl", *words], check=True, cwd=self.folder, capture_output=True)

        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl("req", "-x509", *curve, "-days", "2", "-keyout", "ca.key", "-out", "ca.pem",
                "-subj", "/CN=bench root", "-addext", "keyUsage=critical,keyCertSign")
        openssl("req", *curve, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=localhost")
        (self.folder / "leaf.ext").write_text("subjectAltName=DNS:localhost\n")
        openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2",
                "-CAcreateserial", "-extfile", "leaf.ext", "-out", "leaf.pem")

    def control(self, name, body=None):
        status, reply = post(f"{self.standin.telegram}/control/{name}", body)
        assert status == 200, f"{name}: {reply}"
        return reply

    def script(self, **what):
        status, reply = post(f"{self.standin.gemini}/control/script", what)
        assert status == 200, reply

    def push(self, chats, text="hello"):
        """One private message for each chat id, in pages; `{chat}` in the text is that id."""
        lines = self.lines(chats, text)
        for start in range(0, len(lines), 2_000):
            self.control("push", "\n".join(lines[start:start + 2_000]).encode())

    def push_at(self, rate, chats, text):
        """The same one by one, so many a second, by the stand-in itself; when it began, in its milliseconds."""
        return self.control(f"push?every_us={1e6 / rate:.0f}", "\n".join(self.lines(chats, text)).encode())["begun_ms"]

    @staticmethod
    def lines(chats, text):
        now, lines = int(time.time()), []
        for number, chat in enumerate(chats):
            person = {"id": chat, "is_bot": False, "first_name": f"P{chat}", "language_code": "en"}
            lines.append(json.dumps({"message": {
                "message_id": number + 1, "date": now, "text": text.replace("{chat}", str(chat)), "from": person,
                "chat": {"id": chat, "type": "private", "first_name": f"P{chat}"}}}))
        return lines

    def sent(self):
        return self.control("state")["sent_total"]

    def wait_sent(self, total, timeout_s=300):
        reply = self.control("wait", {"total": total, "timeout_ms": int(min(timeout_s, 55) * 1_000)})
        end = time.monotonic() + timeout_s
        while not reply["ok"]:
            if time.monotonic() > end:
                raise TimeoutError(f"{reply['total']} of {total} messages after {timeout_s} s")
            reply = self.control("wait", {"total": total, "timeout_ms": 3_000})
        return reply["total"]

    def bot(self, data="data", wrap=(), kind=None, **settings):
        bot = (kind or Bot)(self, data, wrap, settings)
        self.bots.append(bot)
        return bot


class Bot:
    """One `svs-bot run`."""

    def __init__(self, world, data, wrap, settings):
        self.http = f"http://127.0.0.1:{free_port()}"
        env = {
            "PATH": os.environ["PATH"], "HOME": str(world.folder), "TELEGRAM_BOT_TOKEN": TOKEN,
            "GROUP_B_KEYS": KEYS, "HTTP_ADDR": self.http[7:], "LOG_LEVEL": "warn",
            "KEY_MIN_INTERVAL": "0", "KEY_RPM": "0", "LITE_RPD": "0", "FLASH_RPD": "0",
            "PRO_RPD": "0", "PRO_RPM": "0", **world.urls,
        }
        if world.tls:
            env["TLS_CA_FILE"] = str(world.folder / "ca.pem")
        env.update({name: str(value) for name, value in settings.items()})
        env.update(pair.split("=", 1) for pair in os.environ.get("BENCH_ENV", "").split() if pair)
        self.log = open(world.folder / "log", "ab")
        self.world = world
        self.polls = world.control("state")["polls"]
        command = [*wrap, *self.command(str(world.folder / data), env)]
        self.started_ms = time.time() * 1_000
        self.process = subprocess.Popen(command, env=env, cwd=world.folder, stderr=self.log,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.pid = self.process.pid

    def command(self, data, _env):
        return [BINARY, "run", "--data-dir", data]

    def wait_poll(self):
        end = time.monotonic() + 60
        while self.world.control("state")["polls"] <= self.polls:
            if self.process.poll() is not None or time.monotonic() > end:
                text = (self.world.folder / "log").read_text(errors="replace")
                raise RuntimeError(f"the bot does not poll: {text[-2000:]}")
            time.sleep(0.02)
        return self

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def status(self, name, pid=None):
        text = pathlib.Path(f"/proc/{pid or self.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+)", text, re.M).group(1))

    def rss_mb(self):
        return self.status("VmRSS") / 1_024

    def peak_mb(self):
        return self.status("VmHWM") / 1_024

    def cpu_s(self):
        return cpu_of(self.pid)

    def cpu_fine_s(self):
        """The same from the scheduler, in nanoseconds; ended threads are missing in it."""
        total = 0
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                pass
        return total / 1e9

    def switches(self):
        """Voluntary switches of each thread alive."""
        found = {}
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            try:
                text = (task / "status").read_text()
            except OSError:
                continue
            name = (task / "comm").read_text().strip()
            count = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M).group(1)
            found[f"{name}:{task.name}"] = int(count)
        return found

    def metrics(self):
        with urllib.request.urlopen(self.http + "/metrics", timeout=10) as reply:
            return reply.read().decode()

    def quantiles(self, name, wanted):
        """Upper bounds of the buckets in which these quantiles lie, seconds."""
        buckets = re.findall(rf'^{name}_bucket{{le="([^"]+)"}} (\d+)', self.metrics(), re.M)
        total = int(buckets[-1][1])
        return [next(edge for edge, count in buckets if int(count) >= total * share) for share in wanted]


def cpu_of(pid):
    """User and system time of a process, seconds."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


class ComparedBot(Bot):
    """`compared_bot.py` in an environment of its own, which is made on first use."""

    def command(self, _data, env):
        env["KEYS"] = KEYS.partition(",")[0]
        return [str(compared_python()), str(ROOT / "scripts/bench.d/compared_bot.py")]


def compared_python():
    folder = ROOT / "scripts/.cache/compared"
    python, whole = folder / "bin/python", folder / "whole"
    if not whole.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--requirement",
                        str(ROOT / "scripts/bench.d/compared.txt")], check=True)
        whole.touch()
    return python


def wait_port(port):
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
