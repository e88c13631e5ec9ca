"""Webhook mode with the real nginx: as the TLS proxy that the shipped example sets up, and in Telegram's place
before the bot's own TLS. Conversations, kills of the bot, a renewed certificate, forged calls.

The stand-in delivers in plain HTTP to an nginx that speaks TLS onwards and verifies the certificate.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request

from bot import Bot, until
from standin import ROOT, StandIn, free_port, post

HOST = "bot.example.org"
SECRET = "a-secret_of-the-webhook"
CHATS = range(1, 7)


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Authority:
    """A root of our own, and certificates for the bot's host."""

    def __init__(self, folder):
        self.folder = folder
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
            "-subj", "/CN=root of the check", "-keyout", folder / "root.key", "-out", folder / "root.pem",
        )

    def issue(self):
        """Writes cert.pem and key.pem anew, as a renewal does."""
        at, new = self.folder, self.folder / "new"
        new.mkdir(exist_ok=True)
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
            "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-addext", "basicConstraints=critical,CA:FALSE",
            "-CA", at / "root.pem", "-CAkey", at / "root.key", "-keyout", new / "key.pem", "-out", new / "cert.pem",
        )
        for name in ("cert.pem", "key.pem"):
            os.replace(new / name, at / name)


class Nginx:
    """One nginx with these server blocks, in the foreground."""

    def __init__(self, folder, blocks):
        program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        assert program, "nginx is missing: install the package nginx-light"
        temp = "".join(
            f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
            f"events {{ worker_connections 256; }}\nhttp {{ access_log off;\n{temp}\n{blocks}\n}}\n"
        )
        self.command = [program, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]

    def __enter__(self):
        subprocess.run([*self.command, "-t", "-q"], check=True)
        self.process = subprocess.Popen(self.command)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=15)


def in_telegrams_place(port, tls_port, folder):
    """Takes plain deliveries and passes them on by TLS, verifying as Telegram does."""
    return f"""
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass https://127.0.0.1:{tls_port};
            proxy_http_version 1.1;
            proxy_set_header Host {HOST};
            proxy_ssl_server_name on;
            proxy_ssl_name {HOST};
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {folder}/root.pem;
            client_max_body_size 200m;
        }}
    }}
    """


def shipped_example(tls_port, bot_port, folder):
    """scripts/svs-bot.nginx.conf with the ports and files of this check."""
    text = (ROOT / "scripts" / "svs-bot.nginx.conf").read_text()
    text, count = re.subn(r"listen \[::\]:443 ssl;", "", text)
    changed = [
        ("listen 443 ssl", f"listen 127.0.0.1:{tls_port} ssl"),
        ("127.0.0.1:8443", f"127.0.0.1:{bot_port}"),
        (f"/etc/letsencrypt/live/{HOST}/fullchain.pem", f"{folder}/cert.pem"),
        (f"/etc/letsencrypt/live/{HOST}/privkey.pem", f"{folder}/key.pem"),
    ]
    assert count == 1, text
    for old, new in changed:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


class Talk:
    """Questions through the stand-in, and whether each is answered once."""

    def __init__(self, standin):
        self.control = f"{standin.telegram}/control"
        self.said = []

    def say(self, count):
        for _ in range(count):
            chat = CHATS[len(self.said) % len(CHATS)]
            text = f"question-{len(self.said)}-end"
            self.said.append((chat, text))
            status, reply = post(f"{self.control}/text", {"chat": chat, "user": chat, "text": text})
            assert status == 200, reply

    def answers(self):
        with urllib.request.urlopen(f"{self.control}/sent", timeout=30) as reply:
            return [(it["chat"], it["text"]) for it in json.load(reply)["sent"]]

    def count(self, chat, text):
        return sum(to == chat and text in said for to, said in self.answers())

    def settle(self):
        until(60, "every answer", lambda: all(self.count(*it) for it in self.said))

    def state(self):
        return post(f"{self.control}/state")[1]


def status_of(url, secret, body=b"{}"):
    request = urllib.request.Request(url, body, {"X-Telegram-Bot-Api-Secret-Token": secret})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def conversation(standin, front_port, path, settings, during):
    talk = Talk(standin)
    bot = Bot(
        TELEGRAM_API_URL=standin.telegram,
        GEMINI_API_URL=standin.gemini,
        WEBHOOK_URL=f"https://{HOST}{path}",
        WEBHOOK_SECRET=SECRET,
        **settings,
    )
    post(f"{talk.control}/deliver", {"to": f"127.0.0.1:{front_port}"})
    with bot:
        until(60, "the webhook", lambda: talk.state()["webhook"])
        talk.say(12)
        talk.settle()
        for _ in range(4):
            talk.say(6)
            bot.process.kill()
            bot.process.wait(timeout=15)
            talk.say(6)
            bot.__enter__()
        talk.settle()
        during(talk)
        talk.say(6)
        talk.settle()
        until(60, "an empty queue at Telegram", lambda: talk.state()["pending"] == 0)
        assert talk.state()["polls"] == 0
        front = f"http://127.0.0.1:{front_port}{path}"
        before = len(talk.answers())
        forged = json.dumps({"update_id": 1, "message": {"message_id": 1, "date": 1, "text": "forged",
            "chat": {"id": 1, "type": "private"}, "from": {"id": 1, "is_bot": False, "first_name": "x"}}}).encode()
        assert status_of(front, "wrong", forged) == 401
        assert status_of(front + "/else", SECRET, forged) == 404
        assert status_of(front, SECRET, bytes(100 << 20)) in (0, 413, 502)
        assert len(talk.answers()) == before
        assert "panicked" not in bot.log(), bot.log()
        assert SECRET not in bot.log()
        doubled = [it for it in talk.said if talk.count(*it) > 1]
        # Only what was being sent at a kill may be shown twice: one for each chat and kill.
        assert len(doubled) <= 4 * len(CHATS), doubled
    assert talk.state()["webhook"], "a stop leaves the webhook set"


def shown_certificate(port):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=30) as tcp:
        with context.wrap_socket(tcp, server_hostname=HOST) as tls:
            return tls.getpeercert(binary_form=True)


def main():
    with tempfile.TemporaryDirectory(prefix="svs-bot-webhook-") as scratch:
        folder = pathlib.Path(scratch)
        # nginx, started as root, gives its workers to another user.
        folder.chmod(0o755)
        authority = Authority(folder)
        authority.issue()

        print("behind nginx")
        front, tls, bot = free_port(), free_port(), free_port()
        blocks = shipped_example(tls, bot, folder) + in_telegrams_place(front, tls, folder)
        with StandIn("--unlimited", "--first-ms", "5") as standin, Nginx(folder, blocks):
            settings = {"WEBHOOK_ADDR": f"127.0.0.1:{bot}"}
            conversation(standin, front, "/svs-bot-hook", settings, lambda _: None)

        print("by its own TLS")
        front, tls = free_port(), free_port()
        with StandIn("--unlimited", "--first-ms", "5") as standin, Nginx(folder, in_telegrams_place(front, tls, folder)):
            settings = {
                "WEBHOOK_ADDR": f"127.0.0.1:{tls}",
                "WEBHOOK_TLS_CERT": folder / "cert.pem",
                "WEBHOOK_TLS_KEY": folder / "key.pem",
            }

            def renewal(_):
                old = shown_certificate(tls)
                authority.issue()
                until(30, "the renewed certificate", lambda: shown_certificate(tls) != old)

            conversation(standin, front, "/hook", settings, renewal)


if __name__ == "__main__":
    main()
    print("ok")
