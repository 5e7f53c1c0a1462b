#!/usr/bin/env python3
"""Sends length-prefixed messages, cut into fragments, and checks that the same messages come back.

The prefix is big-endian, 1, 2 or 4 bytes, and counts the body alone; empty bodies are among the
messages. Fragments cut headers as well as bodies. Prints one line of JSON; leaves with 0 only if
every connection was right.

With --send-hex each connection sends just those bytes instead, as a hostile peer would, and must be
closed by the server without a single byte of answer.
"""

import sys

sys.dont_write_bytecode = True

import connections  # noqa: E402

WIDTHS = {"u8": 1, "u16": 2, "u32": 4}


class Framed(connections.Connection):
    def __init__(self, number, args):
        super().__init__(number, args)
        self.width = WIDTHS[args.prefix]
        self.max_size = min(args.max_size, (1 << (8 * self.width)) - 1)
        self.fragment = args.fragment
        self.frames = args.frames
        self.made = self.back = 0
        self.outgoing = connections.Stream(args.seed, number)
        self.rest = b""  # made and not yet handed out
        self.awaited = []
        self.incoming = bytearray()

    def next_piece(self):
        if not self.rest:
            if self.made == self.frames:
                return None
            most = 1 << self.random.randint(0, self.max_size.bit_length())
            size = self.random.randint(0, min(most, self.max_size))
            body = self.outgoing.take(size)
            self.made += 1
            self.awaited.append(body)
            self.rest = size.to_bytes(self.width, "big") + body
        cut = self.random.randint(1, self.fragment) if self.fragment else len(self.rest)
        piece, self.rest = self.rest[:cut], self.rest[cut:]
        return piece

    def accept(self, data):
        self.incoming += data
        at = 0
        while len(self.incoming) - at >= self.width:
            start = at + self.width
            size = int.from_bytes(self.incoming[at:start], "big")
            if self.back == self.made:
                raise connections.Wrong(f"message {self.back} came back and was not sent")
            body = self.awaited[0]
            if size != len(body):
                raise connections.Wrong(f"message {self.back} has {size} bytes, not {len(body)}")
            if len(self.incoming) - start < size:
                break
            got = bytes(self.incoming[start : start + size])
            if got != body:
                where = connections.first_difference(got, body)
                raise connections.Wrong(f"message {self.back} differs from byte {where} on")
            self.awaited.pop(0)
            self.back += 1
            at = start + size
        del self.incoming[:at]

    def complete(self):
        return self.back == self.frames and not self.incoming


class Hostile(connections.Connection):
    """Sends what it was told and waits to be closed; a reset is a close, too."""

    def __init__(self, number, args):
        super().__init__(number, args)
        self.bytes = args.send_hex

    def next_piece(self):
        piece, self.bytes = self.bytes, b""
        return piece or None

    def complete(self):
        return True

    def nothing_more(self):
        return False  # not before the server closes

    def read(self):
        try:
            data = self.socket.recv(connections.READ)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        if data:
            raise connections.Wrong(f"the server answered {len(data)} bytes: {data[:16].hex()}")
        return True


def main():
    p = connections.parser(__doc__)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--prefix", choices=WIDTHS, default="u32")
    p.add_argument("--frames", type=connections.positive, default=100, metavar="N")
    p.add_argument("--max-size", type=connections.positive, default=16384, metavar="BYTES")
    p.add_argument("--fragment", type=int, default=0, metavar="N", help="1 to N bytes a send; 0: whole messages")
    p.add_argument("--half-close", action="store_true")
    p.add_argument("--send-hex", type=bytes.fromhex, metavar="HEX")
    args = p.parse_args()
    connections.run(Hostile if args.send_hex is not None else Framed, args)


if __name__ == "__main__":
    main()
