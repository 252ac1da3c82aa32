// The trace: its columns, unpacked from the page itself.
//
//   an element's text    base64 ─▶ zlib ─▶ u32 length, JSON (names, sites, stacks, counters)
//                                          u32 length, column  ×9: dt kind m p how place n a b
//                                          u32 length, column  ×1: extra
//                                          u32 length, column  ×7: a row a goroutine
//
// `extra` is a text of a log, region or task; one more than the number of a stack of a `switch` or
// `create`, or of the contents of a `snapshot`; 0: none. Goroutines are numbers of rows; row 0 is g0.
// `dt`, `m`, `n`, `a`, `b`, `extra` and the rows are numbers of seven bits a byte, low bits first. The times are
// nanoseconds since the recorder's begin, each as the difference from the one before.

/** Reads the trace that an element holds. Makes no request: the bytes are in the document. */
async function readData(holder) {
  const packed = fromBase64(holder.textContent.trim());
  holder.remove();
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
  const whole = await new Response(stream).arrayBuffer();
  return parse(new Uint8Array(whole));
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const result = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) result[i] = binary.charCodeAt(i);
  return result;
}

/** Parses the unpacked bytes into the head and one typed array a column. */
function parse(raw) {
  const words = new DataView(raw.buffer, raw.byteOffset);
  let at = 0;
  const piece = () => {
    const length = words.getUint32(at, true);
    const bytesOfIt = raw.subarray(at + 4, at + 4 + length);
    at += 4 + length;
    return bytesOfIt;
  };
  const head = JSON.parse(new TextDecoder().decode(piece()));
  const total = head.events;
  const time = new Float64Array(total);
  readNumbers(piece(), time);
  let now = 0;
  for (let i = 0; i < total; i++) time[i] = now += time[i];
  const trace = { ...head, total, time };
  trace.kind = piece().slice();
  trace.m = readNumbers(piece(), new Uint16Array(total));
  for (const name of ['p', 'how', 'place']) trace[name] = piece().slice();
  trace.n = readNumbers(piece(), new Uint32Array(total));
  trace.a = readNumbers(piece(), new Float64Array(total));
  trace.b = readNumbers(piece(), new Float64Array(total));
  trace.extra = readNumbers(piece(), new Uint32Array(total));
  trace.gs = readGoroutines(head, piece);
  trace.begin = 0;
  trace.end = Math.max(head.end, total ? time[total - 1] : 0, 1);
  trace.kindName = [];
  for (const [number, name] of head.kinds) trace.kindName[number] = name;
  trace.K = Object.fromEntries(head.kinds.map(([number, name]) => [name.replaceAll(' ', '_'), number]));
  trace.placeName = head.places;
  return trace;
}

/** Reads the table of goroutines. */
function readGoroutines(head, piece) {
  const rows = head.goroutines;
  const column = () => readNumbers(piece(), new Float64Array(rows));
  const [id, name, fn, site, stack, created, creator] = [column(), column(), column(), column(), column(), column(), column()];
  const hues = new Map();
  const all = new Array(rows);
  for (let g = 0; g < rows; g++) {
    const key = site[g] || -fn[g];
    let hue = hues.get(key);
    if (hue === undefined) hues.set(key, hue = hues.size);
    // `created` is one more than the number of the event, or 0; `stack` one more than that of a stack.
    all[g] = { id: id[g], name: head.strings[name[g]], fn: fn[g], site: site[g], stack: stack[g], created: created[g], creator: creator[g], hue };
  }
  return all;
}

/** Fills `into` with the numbers of a column. */
function readNumbers(from, into) {
  let at = 0;
  for (let i = 0; i < into.length; i++) {
    let byte = from[at++];
    if (byte < 128) {
      into[i] = byte;
      continue;
    }
    let value = byte & 127;
    let scale = 128;
    do {
      byte = from[at++];
      value += (byte & 127) * scale;
      scale *= 128;
    } while (byte >= 128);
    into[i] = value;
  }
  return into;
}

// The numbers of `Why` that the scheduler itself uses; lower ones are reasons to wait.
const YIELD = 128;
const PREEMPT = 129;
const END = 130;
const DEATH = 131;
const NO_P = 255;

// The numbers of `Place`.
const NOWHERE = 0;
const SLOT = 1;
const RING = 2;
const GLOBAL = 3;
const INBOX = 4;
const PINNED = 5;
const HAND = 6;
const MARKED = 7;
const TIMERS = 8;

/** Returns the text of a reason to leave a core. */
function why(trace, number) {
  if (number === 0) return 'g0';
  if (number === YIELD) return 'yield';
  if (number === PREEMPT) return 'preempted';
  if (number === END) return 'end';
  if (number === DEATH) return 'death';
  return trace.reasons[number] ?? `reason ${number}`;
}

/** Returns how the page calls a goroutine: its number, and its name if it has one. */
function gName(trace, g) {
  if (g === 0) return 'g0';
  const name = trace.gs[g].name;
  return name ? `G${trace.gs[g].id} ${name}` : `G${trace.gs[g].id}`;
}

/** Returns the short name of the function of a goroutine. */
function gFunction(trace, g) {
  return trace.strings[trace.gs[g].fn] || 'a function without a name';
}

/** Returns where a goroutine was made, as `file:line`. */
function gSite(trace, g) {
  return trace.strings[trace.gs[g].site] || 'an unknown place';
}
