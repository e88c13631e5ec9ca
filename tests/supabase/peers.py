"""The real PostgreSQL and PostgREST on loopback, with the two tables as the earlier versions have them."""
import base64, hashlib, hmac, json, os, pathlib, shutil, signal, socket, subprocess, tempfile, time, urllib.request

SECRET = "a-secret-of-at-least-thirty-two-characters"
TABLES = """
create table chat_history (
  id bigserial primary key, chat_id bigint not null, user_id bigint not null, username varchar(255),
  message_text text, response_text text, model_used varchar(100), metadata jsonb default '{}',
  created_at timestamp default now());
create index on chat_history (user_id); create index on chat_history (chat_id);
create index on chat_history (created_at desc);
create table user_registry (
  id bigserial primary key, user_id bigint not null, username varchar(255), first_name varchar(255),
  chat_id bigint not null, triggered_by_keyword varchar(100), trigger_count integer default 1,
  last_triggered_at timestamp default now(), created_at timestamp default now(), unique (user_id, chat_id));
create index on user_registry (user_id); create index on user_registry (chat_id);
grant usage on schema public to anon, authenticated, service_role;
grant select, insert, update, delete on chat_history, user_registry to service_role;
grant usage, select on all sequences in schema public to service_role;
"""
ROLES = """
create role anon nologin; create role authenticated nologin; create role service_role nologin bypassrls;
create role authenticator noinherit login; grant anon, authenticated, service_role to authenticator;
alter role anon set statement_timeout = '3s'; alter role authenticated set statement_timeout = '8s';
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def jwt(role, ttl=3600):
    enc = lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    head = enc(b'{"alg":"HS256","typ":"JWT"}')
    body = enc(json.dumps({"role": role, "exp": int(time.time()) + ttl}).encode())
    mac = hmac.new(SECRET.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{enc(mac)}"


class Postgres:
    """A throw-away cluster; run as root it becomes `postgres` for the server."""

    def __init__(self, folder):
        self.bin = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
        self.data, self.port = folder / "pg", free_port()
        folder.chmod(0o755)
        self.data.mkdir()
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.data, "postgres", "postgres")
        self.run("initdb", "-A", "trust", "-U", "postgres", "-D", str(self.data))
        self.start()

    def run(self, tool, *args):
        subprocess.run([str(self.bin / tool), *args], check=True, user=self.user, cwd="/",
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self):
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.data} -c fsync=off"
        self.run("pg_ctl", "-w", "-D", str(self.data), "-l", str(self.data / "log"), "-o", options, "start")

    def stop(self):
        self.run("pg_ctl", "-w", "-m", "immediate", "-D", str(self.data), "stop")

    def sql(self, text, database="postgres"):
        result = subprocess.run(["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database,
                                 "-v", "ON_ERROR_STOP=1", "-qtA", "-F", "\x1f"], input=text, text=True, capture_output=True)
        if result.returncode:
            raise RuntimeError(result.stderr)
        return result.stdout.rstrip("\n")


class Postgrest:
    def __init__(self, folder, postgres, binary):
        self.port, self.admin = free_port(), free_port()
        config = folder / "postgrest.conf"
        config.write_text(f"""
db-uri = "postgres://authenticator@127.0.0.1:{postgres.port}/postgres"
db-schemas = "public"
db-anon-role = "anon"
jwt-secret = "{SECRET}"
server-host = "127.0.0.1"
server-port = {self.port}
admin-server-port = {self.admin}
db-max-rows = 1000
""")
        self.log = open(folder / "postgrest.log", "wb")
        self.process = subprocess.Popen([str(binary), str(config)], stdout=self.log, stderr=self.log)
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/ready", timeout=1)
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("postgrest does not get ready")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
