#!/usr/bin/env python3
"""Offers bytes over many connections and never reads one: what does the server do with them?

The sockets' buffers on this side are made small. The server's own, which grows to several megabytes
(the third figure of /proc/sys/net/ipv4/tcp_wmem), is out of reach: offer well above it, and look at
the server's memory, not only at what was accepted. A connection ends up "offered" (all bytes were taken), "stalled" (the server
stopped reading: nothing was taken for --stall seconds) or "closed" (the server ended it).

Prints one line of JSON when all connections have come to that. With --hold they then stay open,
for the server's memory to be looked at, until standard input ends. Leaves with 0 if every
connection was established.
"""

import json
import selectors
import socket
import sys
import time

sys.dont_write_bytecode = True

import connections  # noqa: E402


class Offer:
    def __init__(self, args):
        family, address = args.addr
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        # The receive buffer sets the window that is announced, so it must be small before connecting.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, args.buffer)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, args.buffer)
        self.socket.settimeout(args.deadline)
        self.socket.connect(address)
        self.socket.setblocking(False)
        self.accepted = 0
        self.progress = time.monotonic()
        self.state = None

    def write(self, chunk, limit):
        try:
            count = self.socket.send(chunk[: limit - self.accepted])
        except BlockingIOError:
            return
        except OSError:
            self.state = "closed"
            return
        self.accepted += count
        self.progress = time.monotonic()
        if self.accepted >= limit:
            self.state = "offered"


def offer_all(offers, args, end):
    # The content is of no interest to a server that is asked to echo it to nobody; but it is not
    # all zeroes, so that framed servers see plausible lengths.
    chunk = memoryview(connections.Stream("offer", 0).take(65536))
    with selectors.DefaultSelector() as selector:
        for offer in offers:
            selector.register(offer.socket, selectors.EVENT_WRITE, offer)
        while selector.get_map() and time.monotonic() < end:
            for key, _ in selector.select(0.1):
                key.data.write(chunk, args.offer_bytes)
            now = time.monotonic()
            for key in list(selector.get_map().values()):
                if key.data.state is None and now - key.data.progress > args.stall:
                    key.data.state = "stalled"
                if key.data.state is not None:
                    selector.unregister(key.fileobj)


def main():
    p = connections.parser(__doc__)
    p.add_argument("--offer-bytes", type=connections.positive, default=1 << 24, metavar="BYTES", help="per connection")
    p.add_argument("--buffer", type=connections.positive, default=16384, metavar="BYTES", help="of each socket")
    p.add_argument("--stall", type=float, default=1.0, metavar="SECONDS")
    p.add_argument("--hold", action="store_true")
    args = p.parse_args()
    connections.raise_descriptor_limit(args.connections)
    end = time.monotonic() + args.deadline
    offers, error = [], None
    try:
        for _ in range(args.connections):
            offers.append(Offer(args))
    except OSError as failed:
        error = f"connection {len(offers)}: {failed}"
    offer_all(offers, args, end)
    accepted = [offer.accepted for offer in offers]
    states = [offer.state or "unfinished" for offer in offers]
    report = {
        "ok": error is None,
        "connections": len(offers),
        "offered_each": args.offer_bytes,
        "accepted": accepted,
        "accepted_in_all": sum(accepted),
        "states": {state: states.count(state) for state in sorted(set(states))},
        "error": error,
    }
    print(json.dumps(report), flush=True)
    if args.hold:
        sys.stdin.read()
    for offer in offers:
        connections.reset(offer.socket)
    sys.exit(0 if error is None else 1)


if __name__ == "__main__":
    main()
