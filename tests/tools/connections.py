"""What the clients here share: the bytes of a connection, and the loop that drives many of them."""

import argparse
import errno
import hashlib
import json
import random
import resource
import selectors
import socket
import struct
import sys
import time

BLOCK = 16384
# Enough to fill a socket's window several times over, little enough to be fair to the others.
READ = 262144


class Stream:
    """The bytes of one connection, in order.

    Each block is a hash of the seed, the connection and the block's number, so a byte that was lost,
    repeated, reordered or taken from another connection shows.
    """

    def __init__(self, seed, connection):
        self.name = f"{seed}/{connection}/"
        self.number = 0
        self.block = b""
        self.at = 0

    def take(self, count):
        if len(self.block) - self.at < count:
            self.block = self.block[self.at :]
            self.at = 0
            while len(self.block) < count:
                self.block += hashlib.shake_128(f"{self.name}{self.number}".encode()).digest(BLOCK)
                self.number += 1
        start, self.at = self.at, self.at + count
        return self.block[start : self.at]


class Wrong(Exception):
    """The server did what it must not do; the text says what."""


def first_difference(got, expected):
    return next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), min(len(got), len(expected)))


class Connection:
    """One non-blocking connection; a client says what is sent and checks what comes back.

    A client overrides `next_piece` (bytes to hand to one `send`, or None when all are sent),
    `accept` (checks received bytes) and `complete` (whether every answer is there).
    """

    def __init__(self, number, args):
        self.number = number
        self.random = random.Random(f"{args.seed}/{number}/splits")
        self.half_close = args.half_close
        self.sent = self.received = 0
        self.pending = b""
        self.all_sent = False
        self.error = None
        family, self.address = args.addr
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        # Splits reach the wire as splits only if the kernel does not join them again.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connecting = True
        code = self.socket.connect_ex(self.address)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, "connect")

    def next_piece(self):
        raise NotImplementedError

    def accept(self, data):
        raise NotImplementedError

    def complete(self):
        raise NotImplementedError

    def interest(self):
        if self.connecting:
            return selectors.EVENT_WRITE
        return selectors.EVENT_READ | (0 if self.all_sent else selectors.EVENT_WRITE)

    def on_ready(self, events):
        """Returns whether the connection is finished, and all of it was right."""
        if self.connecting:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, "connect")
            self.connecting = False
            return False
        if events & selectors.EVENT_READ and self.read():
            return True
        if events & selectors.EVENT_WRITE and not self.all_sent:
            self.write()
        # With a half-close the end of the stream is part of what is checked; see read().
        return self.all_sent and self.complete() and not self.half_close and self.nothing_more()

    def write(self):
        if not self.pending:
            piece = self.next_piece()
            if piece is None:
                self.all_sent = True
                if self.half_close:
                    self.socket.shutdown(socket.SHUT_WR)
                return
            self.pending = piece
        try:
            count = self.socket.send(self.pending)
        except BlockingIOError:
            return
        self.sent += count
        self.pending = self.pending[count:]

    def read(self):
        try:
            data = self.socket.recv(READ)
        except BlockingIOError:
            return False
        if data:
            self.received += len(data)
            self.accept(data)
            return False
        if not self.all_sent:
            raise Wrong(f"closed by the server after {self.received} bytes, before all was sent")
        if not self.complete():
            raise Wrong(f"closed by the server after {self.received} bytes, answers are missing")
        return True

    def nothing_more(self):
        try:
            data = self.socket.recv(1)
        except BlockingIOError:
            return True
        raise Wrong("bytes after the last answer" if data else "closed by the server unasked")


def drive(connections, deadline):
    """Runs connections until each is finished or wrong, or the deadline has passed."""
    end = time.monotonic() + deadline
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, connection.interest(), connection)
        left = len(connections)
        while left:
            ready = selector.select(max(0, end - time.monotonic()))
            if time.monotonic() >= end:
                break
            for key, events in ready:
                connection = key.data
                before = connection.interest()
                try:
                    finished = connection.on_ready(events)
                except (Wrong, OSError) as error:
                    connection.error = f"{type(error).__name__}: {error}"
                    finished = True
                if finished:
                    selector.unregister(connection.socket)
                    connection.socket.close()
                    left -= 1
                elif connection.interest() != before:
                    selector.modify(connection.socket, connection.interest(), connection)
        for key in list(selector.get_map().values()):
            key.data.error = f"not finished after {deadline} s"
            key.data.socket.close()


def address(text):
    host, _, port = text.rpartition(":")
    info = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    return info[0], info[4]


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def parser(doc):
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--addr", type=address, required=True, metavar="HOST:PORT")
    p.add_argument("--connections", type=positive, default=1, metavar="N")
    p.add_argument("--deadline", type=float, default=60.0, metavar="SECONDS")
    return p


def raise_descriptor_limit(wanted):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + 64
    if soft != resource.RLIM_INFINITY and soft < needed:
        limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def reset(sock):
    """Closes with a reset, so that nothing lingers."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def run(make, args):
    """Opens all connections, drives them, prints one line of JSON and leaves with 0 if all is right."""
    raise_descriptor_limit(args.connections)
    began = time.monotonic()
    connections, failures = [], []
    for number in range(args.connections):
        try:
            connections.append(make(number, args))
        except OSError as error:
            failures.append({"connection": number, "error": str(error)})
    drive(connections, args.deadline)
    failures += [{"connection": c.number, "error": c.error} for c in connections if c.error]
    report = {
        "ok": not failures,
        "connections": args.connections,
        "seed": args.seed,
        "bytes_sent": sum(c.sent for c in connections),
        "bytes_received": sum(c.received for c in connections),
        "seconds": round(time.monotonic() - began, 3),
        "failed": len(failures),
        "first_failures": failures[:5],
    }
    print(json.dumps(report), flush=True)
    sys.exit(0 if report["ok"] else 1)
