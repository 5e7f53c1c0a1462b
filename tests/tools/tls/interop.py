#!/usr/bin/env python3
"""Has the examples `echo` and `client` speak TLS with other implementations, both ways.

    cargo build --release --examples
    python3 tests/tools/tls/interop.py [--examples target/release/examples] [--table FILE]

Certificates are made by openssl in a directory that is thrown away, everything is on loopback, and
programs that are not installed are left out and named. Prints a table in Markdown, and leaves with 1
if anything was not as it should be.
"""

import sys

sys.dont_write_bytecode = True

import argparse  # noqa: E402
import pathlib  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402

import pki  # noqa: E402
import programs  # noqa: E402
from programs import Ask, Echo, OurClient  # noqa: E402

VERSIONS = ("1.2", "1.3")
LIVES_FOR = 15


class Certificates:
    def __init__(self, scratch):
        began = time.monotonic()
        self.ca = pki.Authority(scratch, "ca")
        self.strange = pki.Authority(scratch, "strange-ca")
        self.clients = pki.Authority(scratch, "clients-ca")
        local = ["DNS:localhost", "IP:127.0.0.1"]
        self.server = self.ca.issue("server", local)
        self.second = self.ca.issue("second", ["DNS:second.test", "DNS:*.wild.test"])
        self.long_over = self.ca.issue("long-over", local, begins=-7200, ends=-3600)
        self.good = self.clients.issue("good", usage="clientAuth")
        self.wrong_ca = self.strange.issue("wrong-ca", usage="clientAuth")
        self.expired = self.clients.issue("expired", usage="clientAuth", begins=-7200, ends=-3600)
        self.wrong_usage = self.clients.issue("wrong-usage", usage="serverAuth")
        # Good when our server takes it, and over when clients are to see it.
        self.short = self.ca.issue("short", local, ends=LIVES_FOR)
        self.over_at = began + LIVES_FOR + 2


class Table:
    """What each program did in each case. A case is as it should be, or it is a fault."""

    def __init__(self, title, columns, both=True):
        self.title, self.columns, self.both = title, columns, both
        self.rows, self.faults = {}, []

    def note(self, case, column, right, said):
        self.rows.setdefault(case, {}).setdefault(column, []).append((right, said))
        print(f"{'ok' if right else 'WRONG'}: {self.title}: {case}: {column}: {said}", flush=True)
        if not right:
            self.faults.append(f"{case}: {column}: {said}")

    def markdown(self):
        lines = [f"## {self.title}", "", "| | " + " | ".join(self.columns) + " |"]
        lines.append("|---|" + "---|" * len(self.columns))
        for case, cells in self.rows.items():
            texts = []
            for column in self.columns:
                cell = cells.get(column, [])
                right = sum(ok for ok, _ in cell)
                # One of two versions makes sense in some cases only.
                only = f" ({cell[0][1].split(':')[0]})" if self.both and len(cell) == 1 else ""
                yes = f"yes{only}" if right == len(cell) else f"**{right} of {len(cell)}**"
                texts.append(yes if cell else "")
            lines.append(f"| {case} | " + " | ".join(texts) + " |")
        return "\n".join(lines) + "\n"


def connected(echo, at_least=0):
    """The connections that the owner has heard of since the last time this was asked. What it says
    comes by a pipe, and so a little later."""
    end = time.monotonic() + 10
    seen = []
    while time.monotonic() < end:
        seen += [line for line in echo.new_lines() if " connected: TLS " in line]
        if len(seen) >= at_least:
            break
        time.sleep(0.02)
    return seen


def both(table, case, column, attempt, versions=VERSIONS):
    """The same in both versions."""
    for version in versions:
        try:
            right, said = attempt(version)
        except Exception as error:  # Whatever it is, the table must not lose the rest.
            right, said = False, repr(error)
        table.note(case, column, right, f"TLS {version}: {said}")


def to_our_server(certs, found, echo_binary):
    clients = [program for program in found if program.client]
    usher = next(client for client in clients if client.label == "Python")
    table = Table("Clients of others, our server", [client.label for client in clients])

    def plain(echo, client, **changes):
        def attempt(version):
            connected(echo)
            outcome = client.client(Ask(echo.port, ca=certs.ca.cert, version=version, **changes))
            seen = connected(echo, 1)
            right = outcome.ok and len(seen) == 1 and f"TLS {version} " in seen[0]
            return right, outcome.said or "; ".join(line.split("connected: ")[1] for line in seen)
        return attempt

    def refused(echo, client, its_name="localhost", ca=None, identity=None):
        """No bytes come back, and the owner never hears of a connection it could believe in."""
        def attempt(version):
            connected(echo)
            ask = Ask(echo.port, its_name, ca or certs.ca.cert, identity, version)
            outcome = client.client(ask)
            return not outcome.ok, outcome.said
        return attempt

    def unseen(echo, attempt):
        """Ours is the side that refuses: a connection must not even be announced."""
        def checked(version):
            right, said = attempt(version)
            # One that is let in comes after it, in the log as well.
            usher.client(Ask(echo.port, ca=certs.ca.cert, identity=certs.good, size=9))
            return right and len(connected(echo, 1)) == 1, said
        return checked

    def resumes(echo, client):
        def attempt(version):
            connected(echo)
            outcome = client.client(Ask(echo.port, ca=certs.ca.cert, version=version, times=2, size=1000))
            seen = connected(echo, 2)
            resumed = ["resumed" in line for line in seen]
            return outcome.ok and resumed == [False, True], outcome.said or f"resumed: {resumed}"
        return attempt

    pair = ("--tls-cert", certs.server.cert, "--tls-key", certs.server.key)
    second = ("--tls-cert", certs.second.cert, "--tls-key", certs.second.key)
    short = ("--tls-cert", certs.short.cert, "--tls-key", certs.short.key)
    demand = ("--client-ca", certs.clients.cert)
    with Echo(echo_binary, *short) as expiring, Echo(echo_binary, *pair, *second) as echo, \
            Echo(echo_binary, *pair, *demand) as strict:
        for client in clients:
            name = client.label
            both(table, "1 MiB there and back", name, plain(echo, client))
            both(table, "second certificate, by its name", name, plain(echo, client, name="second.test"))
            both(table, "second certificate, by a wildcard", name, plain(echo, client, name="a.wild.test"))
            both(table, "resumes", name, resumes(echo, client), getattr(client, "resumes", VERSIONS))
            both(table, "client refuses a wrong CA", name, refused(echo, client, ca=certs.strange.cert))
            both(table, "client refuses a wrong host", name, refused(echo, client, its_name="other.test"))
            both(table, "client's certificate is right", name, plain(strict, client, identity=certs.good))
            wrong = {"of a wrong CA": certs.wrong_ca, "missing": None, "expired": certs.expired,
                     "not for clients": certs.wrong_usage}
            for what, identity in wrong.items():
                attempt = unseen(strict, refused(strict, client, identity=identity))
                both(table, f"client's certificate is {what}: refused", name, attempt)
        time.sleep(max(0, certs.over_at - time.monotonic()))
        for client in clients:
            both(table, "client refuses an expired certificate", client.label, refused(expiring, client))
        for server in (expiring, echo, strict):
            if left := server.connections_left():
                table.faults.append(f"afterwards {left} connections are left open")
    return table


def odd_names(certs, echo_binary):
    """What a ClientHello may ask for. s_client sends any bytes as a name, and none on request."""
    table = Table("Names that s_client asks our server for", ["TLS 1.2", "TLS 1.3", "what happens"])
    pair = ("--tls-cert", certs.server.cert, "--tls-key", certs.server.key)
    second = ("--tls-cert", certs.second.cert, "--tls-key", certs.second.key)
    cases = {
        "known": ("second.test", "second"),
        "known, in upper case": ("SECOND.TEST", "second"),
        "a wildcard's, in mixed case": ("A.wILD.test", "second"),
        "two labels for a wildcard": ("a.b.wild.test", "server"),
        "known, with a dot at its end": ("second.test.", "second"),
        "unknown": ("unknown.test", "server"),
        "none": (None, "server"),
        "an IPv4 address": ("127.0.0.1", "server"),
        "an IPv6 address": ("::1", "server"),
        "253 bytes": (".".join(["a" * 62] * 4)[:253], "server"),
        "255 bytes": (".".join(["a" * 63] * 4), None),
        "a label of 64 bytes": ("a" * 64 + ".test", None),
        "not ASCII": ("zürich.test", None),
        "a control character and a line feed": ("a\x1b[31m\nb.test", None),
        "an empty label": ("a..test", None),
        "an underscore": ("_a.test", "server"),
    }
    with Echo(echo_binary, *pair, *second) as echo:
        for case, (name, expected) in cases.items():
            for version in VERSIONS:
                shown, said = served(echo.port, name, version)
                right = shown == expected
                table.note(case, f"TLS {version}", right, f"{shown or 'refused'} {said}")
                what = f"gets `{shown}`" if shown else f"refused: {said}"
                table.rows[case]["what happens"] = [what]
        lines = "\n".join(echo.new_lines())
        if "\x1b" in lines or any(not line.startswith("[") for line in lines.splitlines()):
            table.faults.append("a name has made its way into the log as it was")
    table.markdown = lambda: names_markdown(table, cases)
    return table


def names_markdown(table, cases):
    lines = [f"## {table.title}", "", "| name | TLS 1.2 | TLS 1.3 | |", "|---|---|---|---|"]
    for case in cases:
        row = table.rows[case]
        cells = ["yes" if row[f"TLS {v}"][0][0] else "**no**" for v in VERSIONS]
        lines.append(f"| {case} | {' | '.join(cells)} | {row['what happens'][0]} |")
    return "\n".join(lines) + "\n"


def served(port, name, version):
    """The common name of the certificate that is shown, or the alert."""
    names = ["-noservername"] if name is None else ["-servername", name]
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *names,
               "-tls" + version.replace(".", "_")]
    process = programs.spawn(command, stderr=programs.subprocess.STDOUT)
    said = process.communicate(timeout=programs.PATIENCE)[0].decode(errors="replace")
    for line in said.splitlines():
        if line.startswith("subject="):
            return line.rsplit("= ", 1)[-1], ""
    for line in said.splitlines():
        if ":error:" in line:
            return None, line.split(":", 5)[-1].split(":")[0]
    return None, programs.last_line(said)


def to_other_servers(certs, found, client_binary):
    ours = OurClient(client_binary)
    servers = [program for program in found if program.server]
    table = Table("Our client, servers of others", [server.label for server in servers])
    for server in servers:
        def run(version, identity=certs.server, demand=None, options=(), **changes):
            with server.server(identity, version, demand) as running:
                changes.setdefault("ca", certs.ca.cert)
                ask = Ask(running.port, version=version, **changes)
                return ours.run(ask, running.change, *options)

        def goes(**changes):
            def attempt(version):
                outcome = run(version, **changes)
                return outcome.ok, outcome.said
            return attempt

        def fails(*words, **changes):
            def attempt(version):
                outcome = run(version, **changes)
                return not outcome.ok and any(word in outcome.said for word in words), outcome.said
            return attempt

        name = server.label
        demand = certs.clients.cert
        both(table, "1 MiB there and back", name, goes())
        both(table, "wrong CA: refused", name, fails("not signed by a trusted", ca=certs.strange.cert))
        both(table, "wrong host: refused", name, fails("is for another name", name="other.test"))
        both(table, "expired certificate: refused", name, fails("has expired", identity=certs.long_over))
        both(table, "all three, with `--insecure`", name,
             goes(identity=certs.long_over, name="other.test", ca=None, options=["--insecure"]))
        both(table, "our certificate is right", name,
             goes(demand=demand, **{"options": their(certs.good)}))
        for what, identity in {"of a wrong CA": certs.wrong_ca, "missing": None}.items():
            both(table, f"our certificate is {what}: refused", name,
                 fails("refused with the TLS alert", "reset", "cut off", "ended during",
                       demand=demand, options=their(identity)))
    return table


def their(identity):
    return ["--tls-cert", identity.cert, "--tls-key", identity.key] if identity else []


def refuses_at_once(certs, client_binary, echo_binary):
    """What is known to be wrong before anybody connects."""
    table = Table("What our programs refuse to start with", ["refused"], both=False)
    pair = ["--tls-cert", certs.long_over.cert, "--tls-key", certs.long_over.key]
    mixed = ["--tls-cert", certs.server.cert, "--tls-key", certs.second.key]
    client = [client_binary, "--connect", "127.0.0.1:9", "--tls", "--ca", certs.ca.cert]
    cases = {
        "a server's certificate that has expired": ([echo_binary, *pair], "expired"),
        "a key of another certificate": ([echo_binary, *mixed], "key does not belong"),
        "a client's certificate that has expired": ([*client, *their(certs.expired)], "expired"),
        "a client's certificate that is not for clients": ([*client, *their(certs.wrong_usage)], "not meant"),
        "no CA in the file": ([*client[:-1], certs.ca.key], "no certificate"),
    }
    for case, (command, word) in cases.items():
        run = programs.subprocess.run([str(c) for c in command], capture_output=True, text=True,
                                      stdin=programs.subprocess.DEVNULL, timeout=20)
        said = programs.last_line(run.stderr)
        table.note(case, "refused", run.returncode == 1 and word in said, said)
    return table


def main():
    root = pathlib.Path(__file__).resolve().parents[3]
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--examples", type=pathlib.Path, default=root / "target/release/examples")
    p.add_argument("--table", type=pathlib.Path, help="write the tables to this file as well")
    args = p.parse_args()
    echo, client = args.examples / "echo", args.examples / "client"
    with tempfile.TemporaryDirectory(prefix="socktree-interop-") as directory:
        scratch = pathlib.Path(directory)
        # Compiling Java takes its time where others work, and one of the certificates has little.
        found, missing = programs.all_programs(scratch)
        certs = Certificates(scratch)
        tables = [
            to_our_server(certs, found, echo),
            odd_names(certs, echo),
            to_other_servers(certs, found, client),
            refuses_at_once(certs, client, echo),
        ]
    versions = ", ".join(f"{program.label} {program.version}" for program in found)
    text = f"{versions}.\n\n" + "\n".join(table.markdown() for table in tables)
    if missing:
        text += f"\nNot installed, and left out: {', '.join(missing)}.\n"
    print("\n" + text)
    if args.table:
        args.table.write_text(text)
    faults = [f"{table.title}: {fault}" for table in tables for fault in table.faults]
    print("\n".join(["", *faults, f"{len(faults)} faults"]))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
