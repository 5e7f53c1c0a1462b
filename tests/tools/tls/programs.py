"""The programs that speak TLS with us, ours among them, each behind the same few calls."""

import dataclasses
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import threading
import time

HERE = pathlib.Path(__file__).parent
MIB = 1 << 20
PATIENCE = 40


@dataclasses.dataclass
class Outcome:
    """`ok` if exactly what was sent came back, as often as it was meant to."""

    ok: bool
    said: str = ""
    resumed: bool = False


@dataclasses.dataclass
class Ask:
    """What a client is to do."""

    port: int
    name: str = "localhost"
    ca: object = None
    identity: object = None
    version: str = ""
    size: int = MIB
    times: int = 1


def spawn(command, **options):
    options.setdefault("stderr", subprocess.PIPE)
    pipe = subprocess.PIPE
    return subprocess.Popen([str(c) for c in command], stdin=pipe, stdout=pipe, **options)


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def text_of(size):
    """Lines, for programs that treat their input as text."""
    digits = random.Random(7).choices("abcdefghij0123456789", k=size)
    digits[63::64] = "\n" * len(digits[63::64])
    digits[-1] = "\n"
    return "".join(digits).encode()


def exchange(process, payload, expected, mute=lambda line: False):
    """Sends `payload` to a program's standard input while it reads its output, then ends the input.
    True if the output begins with `expected` and the program then leaves with 0."""

    def write():
        try:
            process.stdin.write(payload)
            process.stdin.flush()
        except OSError:
            pass

    stop = threading.Timer(PATIENCE, process.kill)
    stop.start()
    complaints = []
    drain = threading.Thread(target=lambda: complaints.append(process.stderr.read()))
    drain.start()
    writer = threading.Thread(target=write)
    writer.start()
    got = process.stdout.read(len(expected))
    try:
        if got != expected:
            # What it says about that comes soon; what it waits for may never come.
            threading.Timer(2, process.kill).start()
        writer.join()
        process.stdin.close()
    except OSError:
        pass
    status = process.wait()
    drain.join()
    stop.cancel()
    return got == expected, status, complaints[0].decode(errors="replace")


class Script:
    """peer.py and its like, in a language with a TLS of its own."""

    def __init__(self, label, command, version):
        self.label, self.command, self.version = label, command, version

    def arguments(self, side, identity, version, **more):
        given = {name: value for name, value in more.items() if value}
        if version:
            given["version"] = version
        if identity:
            given |= {"cert": identity.cert, "key": identity.key, "p12": identity.for_java()}
        return self.command + [side] + [f"{name}={value}" for name, value in given.items()]

    def client(self, ask):
        command = self.arguments("client", ask.identity, ask.version, port=ask.port, name=ask.name,
                                 ca=ask.ca, size=ask.size, times=ask.times)
        run = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=PATIENCE * 2)
        echoed = re.findall(r"^echoed (\d+) \S+( resumed)?$", run.stdout, re.MULTILINE)
        right = [n for n, _ in echoed if int(n) == ask.size]
        ok = run.returncode == 0 and len(right) == ask.times
        return Outcome(ok, last_line(run.stderr), bool(echoed) and bool(echoed[-1][1]))

    def server(self, identity, version="", client_ca=None):
        process = spawn(self.arguments("server", identity, version, clientca=client_ca))
        line = process.stdout.readline().decode()
        return Server(process, int(line.split()[-1]))


class Server:
    def __init__(self, process, port, change=lambda data: data):
        self.process, self.port, self.change = process, port, change
        # It may complain as much as it likes.
        threading.Thread(target=process.stderr.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class OpenSsl:
    label = "OpenSSL"

    def __init__(self, version):
        self.version = version

    @staticmethod
    def options(ask):
        options = ["-connect", f"127.0.0.1:{ask.port}", "-CAfile", ask.ca, "-verify_return_error"]
        options += ["-verify_hostname", ask.name, "-servername", ask.name]
        if ask.version:
            options.append("-tls" + ask.version.replace(".", "_"))
        if ask.identity:
            options += ["-cert", ask.identity.cert, "-key", ask.identity.key]
        return options

    def client(self, ask):
        command = ["openssl", "s_client", *self.options(ask), "-quiet", "-no_ign_eof", "-nocommands"]
        payload = random.Random(7).randbytes(ask.size)
        if ask.times > 1:
            return self.resuming(ask)
        echoed, status, said = exchange(spawn(command), payload, payload)
        return Outcome(echoed and status == 0, self.reason(said))

    def resuming(self, ask):
        """A ticket of TLS 1.3 comes after the handshake, so the first waits for an answer."""
        kept = pathlib.Path(ask.ca).parent / f"session-{ask.version}"
        with_session = ["-sess_out", kept]
        for n in range(ask.times):
            command = ["openssl", "s_client", *self.options(ask), *with_session, "-nocommands"]
            process = spawn(command, stderr=subprocess.STDOUT)
            threading.Timer(PATIENCE, process.kill).start()
            process.stdin.write(b"here and back\n")
            process.stdin.flush()
            said = b""
            while b"\nhere and back" not in said and (line := process.stdout.readline()):
                said += line
            process.stdin.close()
            said += process.stdout.read()
            ok = process.wait() == 0 and b"\nhere and back" in said
            with_session = ["-sess_in", kept]
        return Outcome(ok, "", b"\nReused, " in said)

    @staticmethod
    def reason(said):
        for line in reversed(said.splitlines()):
            if "verify error" in line or ":error:" in line or "alert" in line:
                return line.split(":", 5)[-1] if ":error:" in line else line
        return last_line(said)

    def server(self, identity, version="", client_ca=None):
        command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-rev", "-cert", identity.cert,
                   "-key", identity.key]
        if version:
            command.append("-tls" + version.replace(".", "_"))
        if client_ca:
            command += ["-CAfile", client_ca, "-Verify", "2", "-verify_return_error"]
        process = spawn(command)
        while not (line := process.stdout.readline().decode()).startswith("ACCEPT "):
            if not line:
                raise RuntimeError("openssl s_server does not start")
        # It also says what happens.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        return Server(process, int(line.rsplit(":", 1)[1]), reverse_lines)


def reverse_lines(data):
    return b"".join(line[::-1] + b"\n" for line in data.splitlines())


class GnuTls:
    label = "GnuTLS"

    def __init__(self, version):
        self.version = version

    @staticmethod
    def priority(version):
        return ["--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}"] if version else []

    def client(self, ask):
        log = pathlib.Path(ask.ca).parent / "gnutls.log"
        command = ["gnutls-cli", "127.0.0.1", f"--port={ask.port}", f"--x509cafile={ask.ca}",
                   f"--sni-hostname={ask.name}", f"--verify-hostname={ask.name}", f"--logfile={log}"]
        command += self.priority(ask.version)
        if ask.identity:
            command += [f"--x509certfile={ask.identity.cert}", f"--x509keyfile={ask.identity.key}"]
        if ask.times > 1:
            command.append("--resume")
        payload = text_of(ask.size)
        log.write_text("")
        echoed, status, said = exchange(spawn(command), payload, payload)
        said += log.read_text(errors="replace")
        reasons = [line for line in said.splitlines() if "Status:" in line or "rror" in line]
        resumed = "This is a resumed session" in said
        return Outcome(echoed and status == 0, reasons[0] if reasons else last_line(said), resumed)

    def server(self, identity, version="", client_ca=None):
        # It does not say which port it got, so it is given one that was free a moment ago.
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = ["gnutls-serv", "--echo", f"--port={port}", f"--x509certfile={identity.cert}",
                   f"--x509keyfile={identity.key}", *self.priority(version)]
        if client_ca:
            command += [f"--x509cafile={client_ca}", "--require-client-cert", "--verify-client-cert"]
        process = spawn(command)
        threading.Thread(target=process.stdout.read, daemon=True).start()
        wait_for_port(port)
        return Server(process, port)


def wait_for_port(port):
    for _ in range(500):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            # Nothing tells when another program listens.
            time.sleep(0.02)
    raise RuntimeError(f"nobody listens on {port}")


class Curl:
    """Posts a file. To curl its own request, echoed, is an answer of HTTP/0.9 that never ends."""

    label = "curl"
    server = None
    # Its first connection does not end in good order, for which OpenSSL forgets a session of TLS 1.2.
    resumes = ("1.3",)

    def __init__(self, version):
        self.version = version

    def client(self, ask):
        body = pathlib.Path(ask.ca).parent / "body"
        body.write_bytes(random.Random(7).randbytes(ask.size))
        common = ["--silent", "--show-error", "--http0.9", "--http1.1", "--cacert", ask.ca]
        common += ["--resolve", f"{ask.name}:{ask.port}:127.0.0.1"]
        if ask.version:
            common += ["--tlsv" + ask.version, "--tls-max", ask.version]
        if ask.identity:
            common += ["--cert", ask.identity.cert, "--key", ask.identity.key]
        url = f"https://{ask.name}:{ask.port}/"
        if ask.times > 1:
            # Each is given up after a second, as its answer has no end.
            once = [*common, "--max-time", "1", url]
            command = ["curl", *once, *(["--next", *once] * (ask.times - 1))]
            run = subprocess.run([str(c) for c in command], capture_output=True, timeout=PATIENCE)
            return Outcome(run.stdout.count(b"GET / HTTP/1.1") == ask.times, "")
        process = spawn(["curl", "--no-buffer", *common, "--max-time", PATIENCE, "-H", "Expect:", "--data-binary", f"@{body}", url])
        stop = threading.Timer(PATIENCE, process.kill)
        stop.start()
        got = b""
        while b"\r\n\r\n" not in got or len(got.split(b"\r\n\r\n", 1)[1]) < ask.size:
            data = process.stdout.read1(65536)
            if not data:
                break
            got += data
        head, _, back = got.partition(b"\r\n\r\n")
        ok = head.startswith(b"POST / HTTP/1.1") and back == body.read_bytes()
        if ok:
            process.kill()
        said = process.stderr.read().decode(errors="replace")
        process.wait()
        stop.cancel()
        return Outcome(ok, last_line(said))


def version_of(*command):
    run = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"\d+(\.\d+)+", run.stdout + run.stderr)
    return found[0] if found else "?"


def all_programs(scratch):
    """Those that are installed, and the names of those that are not."""
    found, missing = [], []

    def look(program, make):
        if shutil.which(program):
            found.append(make())
        else:
            missing.append(program)

    def java():
        subprocess.run(["javac", "-d", str(scratch), str(HERE / "Peer.java")], check=True)
        version = version_of("java", "-version")
        quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        return Script("Java", ["java", *quick, "-cp", scratch, "Peer"], version)

    look("openssl", lambda: OpenSsl(version_of("openssl", "version")))
    look("gnutls-cli", lambda: GnuTls(version_of("gnutls-cli", "--version")))
    look("curl", lambda: Curl(version_of("curl", "--version")))
    look("python3", lambda: Script("Python", ["python3", HERE / "peer.py"], version_of("python3", "--version")))
    look("node", lambda: Script("Node", ["node", HERE / "peer.js"], version_of("node", "--version")))
    look("javac", java)
    return found, missing


class Echo:
    """Our server, with a log of what it saw."""

    def __init__(self, binary, *options):
        self.process = subprocess.Popen(
            [str(c) for c in (binary, "--listen", "127.0.0.1:0", *options)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"RUST_LOG": "info"})
        self.port = int(self.process.stdout.readline().decode().rsplit(":", 1)[1])
        self.lines = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.mark = 0
        self.before = self.descriptors()

    def read(self):
        for line in self.process.stderr:
            self.lines.append(line.decode(errors="replace").rstrip())

    def new_lines(self):
        """What it said since the last time this was asked."""
        lines = self.lines[self.mark:]
        self.mark += len(lines)
        return lines

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def connections_left(self):
        """How many descriptors stay open though clients are gone; closing takes a moment."""
        end = time.monotonic() + 15
        while (left := self.descriptors() - self.before) > 0 and time.monotonic() < end:
            time.sleep(0.05)
        return left

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=20)
        self.reader.join()


class OurClient:
    def __init__(self, binary):
        self.binary = binary

    def run(self, ask, change, *options, size=None):
        command = [self.binary, "--connect", f"127.0.0.1:{ask.port}", "--tls", "--server-name", ask.name]
        if ask.ca:
            command += ["--ca", ask.ca]
        if ask.identity:
            command += ["--tls-cert", ask.identity.cert, "--tls-key", ask.identity.key]
        payload = text_of(size or ask.size)
        process = spawn([*command, *options])
        echoed, status, said = exchange(process, payload, change(payload))
        return Outcome(echoed and status == 0, last_line(said) + ("" if not echoed else f" (echoed, {status})"))
