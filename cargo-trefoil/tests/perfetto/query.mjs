// Asks Perfetto's trace processor: node query.mjs FOLDER TRACE QUERY…
//
// FOLDER holds Perfetto's web page. In a browser, the page runs the trace processor in a worker,
// `engine_bundle.js`. Here node is that worker's browser. A worker and its page exchange bytes:
// remote calls in the encoding of protocol buffers.
//
// Prints each row of each result as a line, with a tab between its cells, and an empty line behind
// each result.

import { readFileSync } from "node:fs";
import { basename, join } from "node:path";

const [folder, trace, ...queries] = process.argv.slice(2);

// --- Protocol buffers, as far as the calls need them.

function varint(n) {
  const bytes = [];
  for (; n > 127; n = Math.floor(n / 128)) bytes.push((n % 128) | 128);
  return [...bytes, n];
}

const number = (tag, n) => Buffer.from([...varint(tag * 8), ...varint(n)]);
const nested = (tag, ...parts) => {
  const bytes = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([...varint(tag * 8 + 2), ...varint(bytes.length)]), bytes]);
};

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }
  get more() {
    return this.at < this.bytes.length;
  }
  varint() {
    let n = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.bytes[this.at++];
      n |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(BigInt.asIntN(64, n));
    }
  }
  take(length) {
    this.at += length;
    return Buffer.from(this.bytes.subarray(this.at - length, this.at));
  }
  // Yields the tag and the value of each field.
  *fields() {
    while (this.more) {
      const key = this.varint();
      const wire = key & 7;
      const value = wire === 0 ? this.varint() : this.take(wire === 2 ? this.varint() : wire === 1 ? 8 : 4);
      yield [key >>> 3, value];
    }
  }
}

// --- The worker.

class XMLHttpRequest {
  open(_, name) {
    this.name = name;
  }
  send() {
    this.response = readFileSync(join(folder, basename(this.name)));
  }
}

// Starts the worker and returns its port: `post(bytes)`, and `answers`, which get bytes.
async function worker() {
  const self = { location: { href: "http://localhost/" } };
  // The trace processor reports a broken trace in its table `stats`, and says much on the console.
  const console = { log() {}, warn() {}, error() {} };
  const source = readFileSync(join(folder, "engine_bundle.js"), "utf8");
  const names = ["self", "console", "process", "XMLHttpRequest", "WorkerGlobalScope"];
  new Function(...names, source)(self, console, undefined, XMLHttpRequest, class {});
  const port = { answers: [], postMessage: (bytes) => port.answers.push(bytes) };
  self.onmessage({ data: port });
  await new Promise(setImmediate);
  return { answers: port.answers, post: (bytes) => port.onmessage({ data: new Uint8Array(bytes) }) };
}

const APPEND = 1;
const FINALIZE = 2;
const QUERY = 3;
// The response to each, and the tag of its text of an error.
const RESPONSE = { [APPEND]: [201, 2], [FINALIZE]: [208, 1], [QUERY]: [203, 2] };

let sequence = 0;

// Calls a method and returns the parts of its response.
function call(port, method, ...args) {
  port.post(nested(1, number(1, ++sequence), number(2, method), ...args));
  const [tag, error] = RESPONSE[method];
  const responses = [];
  for (const answer of port.answers.splice(0)) {
    for (const [, message] of new Reader(answer).fields()) {
      for (const [key, value] of new Reader(message).fields()) {
        if (key === 5) throw new Error(`the trace processor died: ${value}`);
        if (key === tag) responses.push(value);
      }
    }
  }
  for (const response of responses) {
    for (const [key, value] of new Reader(response).fields()) {
      if (key === error && value.length > 0) throw new Error(String(value));
    }
  }
  return responses;
}

// Returns the rows of a query's result.
function query(port, sql) {
  const columns = [];
  const cells = [];
  for (const response of call(port, QUERY, nested(103, nested(1, Buffer.from(sql))))) {
    for (const [key, value] of new Reader(response).fields()) {
      if (key === 1) columns.push(String(value));
      if (key === 3) cells.push(...batch(value));
    }
  }
  const rows = [];
  for (let at = 0; at < cells.length; at += columns.length) rows.push(cells.slice(at, at + columns.length));
  return rows;
}

// Yields the cells of a batch: a list of their types, and a list of values for each type.
function* batch(bytes) {
  const lists = new Map([...new Reader(bytes).fields()]);
  const list = (tag) => new Reader(lists.get(tag) ?? Buffer.alloc(0));
  const [types, numbers, doubles] = [list(1), list(2), list(3)];
  const texts = String(lists.get(5) ?? "").split("\0");
  while (types.more) {
    const type = types.varint();
    if (type === 2) yield numbers.varint();
    else if (type === 3) yield doubles.take(8).readDoubleLE();
    else if (type === 4) yield texts.shift();
    else yield null;
  }
}

try {
  const port = await worker();
  const bytes = readFileSync(trace);
  for (let at = 0; at < bytes.length; at += 1 << 24) {
    call(port, APPEND, nested(101, bytes.subarray(at, at + (1 << 24))));
  }
  call(port, FINALIZE);
  for (const sql of queries) {
    for (const row of query(port, sql)) console.log(row.join("\t"));
    console.log();
  }
} catch (error) {
  // Not the whole error: its trace would show the bundle, which is one long line.
  console.error(error.message);
  process.exitCode = 1;
}
