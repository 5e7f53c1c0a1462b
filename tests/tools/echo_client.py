#!/usr/bin/env python3
"""Sends seeded bytes over many connections at once and checks that exactly those come back.

Every connection sends its own stream in pieces of random size, one `send` per turn, while it reads;
with --min-bytes the stream has a random length, too. Without --half-close it is finished when the
last byte is back and nothing follows it; with it, the client shuts its side down after the last byte,
and all answers and then the end of the stream must arrive. Prints one line of JSON; leaves with 0 only
if every connection was right.
"""

import sys

sys.dont_write_bytecode = True

import connections  # noqa: E402


class Echo(connections.Connection):
    def __init__(self, number, args):
        super().__init__(number, args)
        self.total = self.random.randint(args.min_bytes or args.bytes_per_connection, args.bytes_per_connection)
        self.max_chunk = args.max_chunk
        self.taken = 0
        self.outgoing = connections.Stream(args.seed, number)
        self.expected = connections.Stream(args.seed, number)

    def next_piece(self):
        left = self.total - self.taken
        if not left:
            return None
        # Small and large pieces equally often, whatever the maximum.
        most = 1 << self.random.randint(0, self.max_chunk.bit_length())
        size = min(self.random.randint(1, min(most, self.max_chunk)), left)
        self.taken += size
        return self.outgoing.take(size)

    def accept(self, data):
        at = self.received - len(data)
        if self.received > self.sent:
            raise connections.Wrong(f"{self.received} bytes are back, {self.sent} were sent")
        expected = self.expected.take(len(data))
        if data != expected:
            at += connections.first_difference(data, expected)
            raise connections.Wrong(f"byte {at} is not the one that was sent")

    def complete(self):
        return self.received == self.total


def main():
    p = connections.parser(__doc__)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--bytes-per-connection", type=connections.positive, default=65536, metavar="N")
    p.add_argument("--min-bytes", type=connections.positive, metavar="N", help="draw each total, from this on")
    p.add_argument("--max-chunk", type=connections.positive, default=16384, metavar="N")
    p.add_argument("--half-close", action="store_true")
    args = p.parse_args()
    if args.min_bytes and args.min_bytes > args.bytes_per_connection:
        p.error("--min-bytes is above --bytes-per-connection")
    connections.run(Echo, args)


if __name__ == "__main__":
    main()
