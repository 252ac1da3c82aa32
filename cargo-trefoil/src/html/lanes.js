// Intervals: the work of each M, P and G over time, computed once from the events.
//
// A *lane* is a list of pieces in the order of time, in typed arrays:
//
//   start ─┬─ end      the times of the piece
//          ├─ g        the goroutine (lanes of M's and P's)
//          ├─ state    one of the states below (lanes of G's)
//          ├─ ev       the event with which the piece begins
//          └─ until    the event with which it ends (lanes of M's and P's)
//
// The sums of time up to each piece tell how busy a lane was between any two moments without a look
// at the pieces in between. So a view of a million events costs a search a pixel.

// The states of a goroutine.
const UNSEEN = 0;
const RUNNABLE = 1;
const RUNNING = 2;
const WAITING = 3;
const GONE = 4;
const STATE_NAMES = ['not seen yet', 'waits for a core', 'runs', 'waits', 'gone'];

/** The columns of a lane. */
const PIECE = ['start', 'end', 'g', 'ev', 'until'];

/** A lane that grows while the events are read. */
class Growing {
  constructor() {
    this.size = 0;
    this.start = new Float64Array(64);
    this.end = new Float64Array(64);
    this.g = new Uint32Array(64);
    this.ev = new Uint32Array(64);
    this.until = new Uint32Array(64);
  }

  push(start, g, ev) {
    if (this.size === this.start.length) {
      for (const name of PIECE) {
        const wider = new this[name].constructor(this.size * 2);
        wider.set(this[name]);
        this[name] = wider;
      }
    }
    this.start[this.size] = start;
    this.end[this.size] = Infinity;
    this.g[this.size] = g;
    this.ev[this.size] = ev;
    this.until[this.size] = 0xffffffff;
    this.size += 1;
  }

  /** Ends the open piece at the time `at`, with event `ev`. */
  close(at, ev) {
    const last = this.size - 1;
    if (last < 0 || this.end[last] !== Infinity) return;
    this.end[last] = Math.max(at, this.start[last]);
    this.until[last] = ev;
  }

  /** Ends the lane, and sums it up. */
  finish(at) {
    this.close(at, 0xffffffff);
    const { size } = this;
    for (const name of PIECE) this[name] = this[name].slice(0, size);
    this.busy = new Float64Array(size + 1);
    for (let i = 0; i < size; i++) this.busy[i + 1] = this.busy[i] + this.end[i] - this.start[i];
    return this;
  }
}

/** Returns the time within `[from, to]` that the pieces of a lane take up. */
function busyTime(lane, from, to) {
  const upTo = (t) => {
    const i = after(lane.start, t, 0, lane.size) - 1;
    return i < 0 ? 0 : lane.busy[i] + Math.min(t, lane.end[i]) - lane.start[i];
  };
  return upTo(to) - upTo(from);
}

/** Returns the piece of a lane at the time `t`, or -1. */
function pieceAt(lane, t) {
  const i = after(lane.start, t, 0, lane.size) - 1;
  return i >= 0 && t < lane.end[i] ? i : -1;
}

/** Returns the value of the lane’s piece that holds after the first `events` events; 0: none does. */
function current(lane, events) {
  const i = after(lane.ev, events - 1, 0, lane.size) - 1;
  return i >= 0 && lane.until[i] >= events ? lane.g[i] : 0;
}

/** Computes the lanes of M's and P's, and the state of each M. */
function coreLanes(trace) {
  const { K, total, time, kind, m, p, how, a, b } = trace;
  const [kSwitch, kHold, kRelease, kRest, kRise, kSpin, kSpinEnd, kBegin] = [K.switch, K.hold, K.release, K.rest, K.rise, K.spin, K.spin_end, K.begin];
  const ms = Array.from({ length: trace.ms }, () => new Growing());
  const ps = Array.from({ length: trace.ps }, () => new Growing());
  // The state of an M that runs no G: 1 searches, 2 spins, 3 rests. Here `g` holds that number.
  const idle = Array.from({ length: trace.ms }, () => new Growing());
  // The P that each M holds, as its number plus one.
  const holds = Array.from({ length: trace.ms }, () => new Growing());
  const seen = new Uint8Array(trace.ms);
  const running = new Uint32Array(trace.ms);
  const held = new Uint16Array(trace.ms);
  const hold = (who, what, t, i) => {
    if (held[who] === what) return;
    const old = held[who];
    holds[who].close(t, i);
    if (old > 0 && old <= trace.ps) ps[old - 1].close(t, i);
    held[who] = what;
    if (what === 0 || what > trace.ps) return;
    holds[who].push(t, what, i);
    if (running[who]) ps[what - 1].push(t, running[who], i);
  };
  for (let i = 0; i < total; i++) {
    const k = kind[i];
    const who = m[i];
    const t = time[i];
    if (k === kSwitch) {
      const now = p[i] === NO_P ? 0 : p[i] + 1;
      if (!seen[who]) {
        seen[who] = 1;
        if (a[i]) {
          // A recorder in flight mode begins in the middle: `a` ran before.
          ms[who].push(trace.begin, a[i], 0);
          running[who] = a[i];
          if (now && held[who] !== now) hold(who, now, trace.begin, 0);
        }
      }
      ms[who].close(t, i);
      idle[who].close(t, i);
      if (now && held[who] !== now) hold(who, now, t, i);
      running[who] = b[i];
      const lane = held[who] > 0 ? ps[held[who] - 1] : null;
      if (lane) lane.close(t, i);
      if (b[i]) {
        ms[who].push(t, b[i], i);
        if (lane) lane.push(t, b[i], i);
      } else {
        idle[who].push(t, 1, i);
      }
    } else if (k === kBegin) {
      seen[who] = 1;
      if (p[i] !== NO_P) hold(who, p[i] + 1, t, i);
      if (a[i]) {
        ms[who].push(t, a[i], i);
        running[who] = a[i];
        if (held[who] > 0) ps[held[who] - 1].push(t, a[i], i);
      }
    } else if (k === kHold) {
      hold(who, p[i] === NO_P ? 0 : p[i] + 1, t, i);
    } else if (k === kRelease) {
      hold(who, 0, t, i);
    } else if (running[who] === 0 && (k === kRest || k === kRise || k === kSpin || k === kSpinEnd)) {
      idle[who].close(t, i);
      idle[who].push(t, k === kRest ? 3 : k === kSpin ? 2 : 1, i);
    }
  }
  const end = trace.end;
  for (const lanes of [ms, ps, idle, holds]) lanes.forEach((lane) => lane.finish(end));
  return { ms, ps, idle, holds };
}

/**
 * Computes the lanes of all G's as one: the pieces of goroutine `g` are those with the indexes
 * `first[g]` to `first[g + 1]`.
 */
function goroutineLanes(trace) {
  const { K, total, time, kind, how, place, a, b } = trace;
  const [kCreate, kSwitch, kReady, kPut, kBegin] = [K.create, K.switch, K.ready, K.put, K.begin];
  const count = trace.gs.length;
  const room = 2 * total + 1;
  const of = new Uint32Array(room);
  const states = new Uint8Array(room);
  const before = new Uint8Array(room);
  const events = new Uint32Array(room);
  const first = new Uint32Array(count + 1);
  const now = new Uint8Array(count);
  let size = 0;
  const enter = (g, state, i) => {
    if (now[g] === state) return;
    before[size] = now[g];
    now[g] = state;
    of[size] = g;
    states[size] = state;
    events[size] = i;
    first[g + 1] += 1;
    size += 1;
  };
  for (let i = 0; i < total; i++) {
    const k = kind[i];
    if (k === kSwitch) {
      const leaves = a[i];
      const enters = b[i];
      const reason = how[i];
      if (leaves) {
        if (reason === YIELD || reason === PREEMPT) enter(leaves, RUNNABLE, i);
        else if (reason >= END) enter(leaves, GONE, i);
        else if (reason > 0) enter(leaves, WAITING, i);
        else enter(leaves, RUNNABLE, i);
      }
      if (enters) enter(enters, RUNNING, i);
    } else if (k === kCreate) {
      enter(a[i], RUNNABLE, i);
    } else if (k === kReady || k === kPut) {
      const g = a[i];
      // A marked one is on its way off a core: that core will put it.
      const isMarked = k === kReady && place[i] === MARKED;
      if (!isMarked && (now[g] === WAITING || now[g] === UNSEEN)) enter(g, RUNNABLE, i);
    } else if (k === kBegin && a[i]) {
      enter(a[i], RUNNING, i);
    }
  }
  for (let g = 0; g < count; g++) first[g + 1] += first[g];
  const lane = { size, first, start: new Float64Array(size), end: new Float64Array(size), state: new Uint8Array(size), ev: new Uint32Array(size) };
  const next = first.slice();
  for (let j = 0; j < size; j++) {
    const at = next[of[j]]++;
    lane.state[at] = states[j];
    lane.ev[at] = events[j];
    lane.start[at] = time[events[j]];
  }
  lane.ran = new Float64Array(size + 1);
  lane.queued = new Float64Array(size + 1);
  for (let g = 0; g < count; g++) {
    for (let i = first[g]; i < first[g + 1]; i++) {
      lane.end[i] = i + 1 < first[g + 1] ? lane.start[i + 1] : trace.end;
      const took = lane.end[i] - lane.start[i];
      lane.ran[i + 1] = lane.ran[i] + (lane.state[i] === RUNNING ? took : 0);
      lane.queued[i + 1] = lane.queued[i] + (lane.state[i] === RUNNABLE ? took : 0);
    }
  }
  lane.steps = new States(count, of.slice(0, size), before.slice(0, size), states.slice(0, size), events.slice(0, size));
  return lane;
}

/** The states of all goroutines after any number of events, forwards and backwards. */
class States {
  constructor(count, of, before, to, ev) {
    Object.assign(this, { of, before, to, ev, at: 0 });
    this.now = new Uint8Array(count);
    this.counts = [count - 1, 0, 0, 0, 0];
    this.waiting = new Set();
  }

  seek(events) {
    const target = after(this.ev, events - 1, 0, this.ev.length);
    while (this.at < target) this.set(this.of[this.at], this.to[this.at++]);
    while (this.at > target) this.set(this.of[--this.at], this.before[this.at]);
    return this;
  }

  set(g, state) {
    this.counts[this.now[g]] -= 1;
    this.counts[state] += 1;
    if (state === WAITING) this.waiting.add(g);
    else if (this.now[g] === WAITING) this.waiting.delete(g);
    this.now[g] = state;
  }
}

/** Collects the program's own events, each with the goroutine that ran there. */
function readNotes(trace, cores) {
  const { K, kind, m } = trace;
  const wanted = new Uint8Array(256);
  for (const k of [K.log, K.region_begin, K.region_end, K.task_begin, K.task_end]) wanted[k] = 1;
  const ev = [];
  const g = [];
  for (let i = 0; i < trace.total; i++) {
    if (!wanted[kind[i]]) continue;
    ev.push(i);
    g.push(current(cores.ms[m[i]], i));
  }
  return { ev, g };
}

/** Returns the piece of goroutine `g` at the time `t`, or -1 before its first. */
function gPieceAt(lane, g, t) {
  const i = after(lane.start, t, lane.first[g], lane.first[g + 1]) - 1;
  return i < lane.first[g] ? -1 : i;
}
