// A TLS client or echo server over Node's `tls`; peer.py says what the arguments are.
"use strict";
const fs = require("fs");
const tls = require("tls");

const [side, ...rest] = process.argv.slice(2);
const options = Object.fromEntries(rest.map((pair) => pair.split(/=(.*)/s).slice(0, 2)));

const common = {};
if (options.version) common.minVersion = common.maxVersion = `TLSv${options.version}`;
if (options.cert) {
  common.cert = fs.readFileSync(options.cert);
  common.key = fs.readFileSync(options.key);
}

function fail(error) {
  console.error(`${side}: ${error.code || ""} ${error.message}`);
  process.exit(1);
}

function once(session) {
  return new Promise((done) => {
    const payload = Buffer.alloc(Number(options.size || 1 << 20), (_) => 0);
    for (let at = 0; at < payload.length; at++) payload[at] = (at * 31 + (at >> 8)) & 255;
    const socket = tls.connect({
      ...common,
      host: "127.0.0.1",
      port: Number(options.port),
      servername: options.name,
      checkServerIdentity: (_, cert) => tls.checkServerIdentity(options.name, cert),
      ca: fs.readFileSync(options.ca),
      session,
    });
    const got = [];
    let size = 0;
    let next;
    socket.setTimeout(20000, () => fail(new Error("timed out")));
    socket.on("error", fail);
    socket.on("session", (ticket) => (next = ticket));
    socket.on("secureConnect", () => socket.write(payload));
    socket.on("close", () => (size < payload.length ? fail(new Error("ended early")) : done(next)));
    socket.on("data", (data) => {
      got.push(data);
      size += data.length;
      if (size < payload.length) return;
      if (!Buffer.concat(got).equals(payload)) fail(new Error("other bytes came back"));
      const resumed = socket.isSessionReused() ? " resumed" : "";
      console.log(`echoed ${size} ${socket.getProtocol()}${resumed}`);
      socket.end();
    });
  });
}

async function client() {
  let session;
  for (let n = 0; n < Number(options.times || 1); n++) session = await once(session);
}

function server() {
  if (options.clientca) {
    common.requestCert = true;
    common.ca = fs.readFileSync(options.clientca);
  }
  const listener = tls.createServer(common, (socket) => {
    socket.on("error", (error) => console.error(`server: ${error.message}`));
    socket.pipe(socket);
  });
  listener.on("tlsClientError", (error) => console.error(`server: ${error.message}`));
  listener.listen(0, "127.0.0.1", () => console.log(`listening on ${listener.address().port}`));
  process.stdin.on("end", () => process.exit(0)).resume();
}

side === "client" ? client() : server();
