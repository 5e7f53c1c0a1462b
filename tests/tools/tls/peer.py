#!/usr/bin/env python3
"""A TLS client or echo server over Python's `ssl`; peer.js and Peer.java take the same arguments.

    peer.py client port=P name=N ca=FILE [cert=FILE key=FILE] [version=1.2|1.3] [size=N] [times=N]
    peer.py server cert=FILE key=FILE [clientca=FILE] [version=1.2|1.3]

The client sends `size` bytes, expects exactly those back, and does so `times` times, with the session
of the time before. It says `echoed N VERSION` or `echoed N VERSION resumed` for each, or why not, and
then leaves with 1. The server says `listening on PORT` and serves until its standard input ends.
"""

import os
import random
import socket
import ssl
import sys
import threading

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def context(purpose, options):
    made = ssl.SSLContext(purpose)
    if "version" in options:
        made.minimum_version = made.maximum_version = VERSIONS[options["version"]]
    if "cert" in options:
        made.load_cert_chain(options["cert"], options["key"])
    return made


def client(options):
    made = context(ssl.PROTOCOL_TLS_CLIENT, options)
    made.load_verify_locations(options["ca"])
    session = None
    for _ in range(int(options.get("times", 1))):
        payload = random.Random(7).randbytes(int(options.get("size", 1 << 20)))
        raw = socket.create_connection(("127.0.0.1", int(options["port"])), timeout=20)
        with made.wrap_socket(raw, server_hostname=options["name"], session=session) as tls:
            # Both at once, as neither side may have room for all of it. One socket must not be used
            # by two threads, so a piece is sent only when the last one is back.
            for at in range(0, len(payload), 64 << 10):
                piece = payload[at:at + (64 << 10)]
                tls.sendall(piece)
                back = b""
                while len(back) < len(piece):
                    read = tls.recv(len(piece) - len(back))
                    if not read:
                        raise ConnectionError("ended early")
                    back += read
                if back != piece:
                    raise ValueError("other bytes came back")
            session = tls.session
            resumed = " resumed" if tls.session_reused else ""
            print(f"echoed {len(payload)} {tls.version()}{resumed}", flush=True)
            tls.unwrap()


def answer(raw, made):
    try:
        with made.wrap_socket(raw, server_side=True) as tls:
            while data := tls.recv(65536):
                tls.sendall(data)
            # Says that this was all; closing alone does not.
            tls.unwrap()
    except OSError as error:
        print(f"server: {error}", file=sys.stderr, flush=True)


def server(options):
    made = context(ssl.PROTOCOL_TLS_SERVER, options)
    if "clientca" in options:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(options["clientca"])
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"listening on {listener.getsockname()[1]}", flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    while True:
        raw, _ = listener.accept()
        threading.Thread(target=answer, args=(raw, made), daemon=True).start()


def main():
    side, *rest = sys.argv[1:]
    options = dict(pair.split("=", 1) for pair in rest)
    try:
        {"client": client, "server": server}[side](options)
    except (OSError, ValueError) as error:
        sys.exit(f"{side}: {error}")


if __name__ == "__main__":
    main()
