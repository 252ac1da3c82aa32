// The queues, replayed: which goroutine stands where after each event, forwards and backwards.
//
// A goroutine stands in one place at a time, so a queue is a list through the goroutines. The first
// pass over the events writes down every move as a row:
//
//   g   from which queue, behind whom   to which queue, behind whom
//
// A row is undone by the same move the other way round. So the replay needs no copies of the
// queues: from any event to any other it makes or undoes the moves in between.
//
//   queue 0: none   1: global   2: inbox   then for each P its slot and ring, and for each M its
//   pinned goroutines, its hand, and the slot and ring that it has without a P (in a block)

/** The numbers of the queues of a machine. */
class Numbering {
  constructor(trace) {
    this.global = 1;
    this.inbox = 2;
    this.firstP = 3;
    this.firstM = 3 + 2 * trace.ps;
    this.total = this.firstM + 4 * trace.ms;
    this.ps = trace.ps;
  }

  /** The slot of a P; without one, that of the M. */
  slot(p, m = -1) {
    if (p === NO_P && m >= 0) return this.firstM + 4 * m + 2;
    return p < this.ps ? this.firstP + 2 * p : 0;
  }

  ring(p, m = -1) {
    const slot = this.slot(p, m);
    return slot && slot + 1;
  }

  pinned(m) {
    return this.firstM + 4 * m;
  }

  hand(m) {
    return this.firstM + 4 * m + 1;
  }

  /** Returns the name of a queue in sentences. */
  name(queue) {
    if (queue === 0) return 'no queue';
    if (queue === this.global) return 'the global queue';
    if (queue === this.inbox) return 'the inbox';
    if (queue < this.firstM) {
      const p = (queue - this.firstP) >> 1;
      return (queue - this.firstP) % 2 ? `P${p}’s ring` : `P${p}’s slot`;
    }
    const m = (queue - this.firstM) >> 2;
    return `M${m}’s ${['pinned queue', 'hand', 'own slot', 'own ring'][(queue - this.firstM) % 4]}`;
  }
}

/** Lists of goroutines, and the moves between them. */
class Lists {
  constructor(goroutines, queues) {
    this.where = new Uint16Array(goroutines);
    this.next = new Uint32Array(goroutines);
    this.prev = new Uint32Array(goroutines);
    this.head = new Uint32Array(queues);
    this.tail = new Uint32Array(queues);
    this.length = new Uint32Array(queues);
  }

  remove(g) {
    const queue = this.where[g];
    if (queue === 0) return;
    const before = this.prev[g];
    const behind = this.next[g];
    if (before) this.next[before] = behind;
    else this.head[queue] = behind;
    if (behind) this.prev[behind] = before;
    else this.tail[queue] = before;
    this.length[queue] -= 1;
    this.where[g] = 0;
  }

  /** Puts `g` into `queue` behind `before`; 0: in front of all. */
  insert(g, queue, before) {
    if (queue === 0) return;
    const behind = before ? this.next[before] : this.head[queue];
    this.prev[g] = before;
    this.next[g] = behind;
    if (before) this.next[before] = g;
    else this.head[queue] = g;
    if (behind) this.prev[behind] = g;
    else this.tail[queue] = g;
    this.length[queue] += 1;
    this.where[g] = queue;
  }

  /** Returns the first goroutines of a queue, oldest first. */
  list(queue, most = Infinity) {
    const result = [];
    for (let g = this.head[queue]; g && result.length < most; g = this.next[g]) result.push(g);
    return result;
  }
}

/** The moves, and the queues as they are after the first `cursor` events. */
class Queues {
  constructor(trace) {
    this.trace = trace;
    this.numbers = new Numbering(trace);
    this.first = new Uint32Array(trace.total + 1);
    this.rows = 0;
    this.columns = ['g', 'from', 'fromBehind', 'to', 'toBehind'];
    for (const name of this.columns) this[name] = new (name === 'from' || name === 'to' ? Uint16Array : Uint32Array)(1024);
    this.lists = new Lists(trace.gs.length, this.numbers.total);
    this.lengths = Array.from({ length: this.numbers.total }, () => ({ size: 0, at: new Float64Array(16), value: new Uint32Array(16) }));
    this.touched = [];
    this.snapshots = [];
    this.wrong = [];
    this.known = new Set();
    record(this);
    this.lengths.forEach(finishLengths);
    this.cursor = trace.total;
  }

  /** Moves `g` to the end of `queue`, or behind `behind` if that is given, and writes that down. */
  move(g, queue, behind) {
    const { lists } = this;
    const from = lists.where[g];
    if (from === 0 && queue === 0) return;
    const row = this.rows++;
    if (row === this.g.length) {
      for (const name of this.columns) {
        const wider = new this[name].constructor(row * 2);
        wider.set(this[name]);
        this[name] = wider;
      }
    }
    this.g[row] = g;
    this.from[row] = from;
    this.fromBehind[row] = from ? lists.prev[g] : 0;
    lists.remove(g);
    const at = behind ?? lists.tail[queue];
    this.to[row] = queue;
    this.toBehind[row] = queue ? at : 0;
    lists.insert(g, queue, at);
    if (from) this.touched.push(from);
    if (queue) this.touched.push(queue);
  }

  /** Makes the queues those after the first `events` events. */
  seek(events) {
    const { lists, g, from, fromBehind, to, toBehind } = this;
    const target = this.first[clamp(events, 0, this.trace.total)];
    let row = this.first[this.cursor];
    for (; row < target; row++) {
      lists.remove(g[row]);
      lists.insert(g[row], to[row], toBehind[row]);
    }
    while (row > target) {
      row -= 1;
      lists.remove(g[row]);
      lists.insert(g[row], from[row], fromBehind[row]);
    }
    this.cursor = clamp(events, 0, this.trace.total);
    return lists;
  }

  /** Returns the queue of `g` and the number of goroutines in front of it. */
  place(g) {
    const queue = this.lists.where[g];
    let ahead = 0;
    if (queue) for (let other = this.lists.prev[g]; other; other = this.lists.prev[other]) ahead += 1;
    return { queue, ahead };
  }
}

/** Notes the lengths of the queues that an event has changed. */
function noteLengths(queues, now) {
  for (const queue of queues.touched) {
    const series = queues.lengths[queue];
    const length = queues.lists.length[queue];
    if (series.size > 0 && series.value[series.size - 1] === length) continue;
    if (series.size === series.at.length) {
      for (const name of ['at', 'value']) {
        const wider = new series[name].constructor(series.size * 2);
        wider.set(series[name]);
        series[name] = wider;
      }
    }
    series.at[series.size] = now;
    series.value[series.size] = length;
    series.size += 1;
  }
  queues.touched.length = 0;
}

/** The values of a queue's length that one value of the coarser list stands for. */
const COARSE = 64;

function finishLengths(series) {
  series.most = 0;
  series.coarse = new Uint32Array(Math.ceil(series.size / COARSE));
  for (let i = 0; i < series.size; i++) {
    const block = Math.floor(i / COARSE);
    series.coarse[block] = Math.max(series.coarse[block], series.value[i]);
    series.most = Math.max(series.most, series.value[i]);
  }
}

/** Returns the greatest length of a queue within `[from, to]`. */
function mostWithin(series, from, to) {
  const i = Math.max(after(series.at, from, 0, series.size) - 1, 0);
  return series.size && series.at[0] <= to ? greatest(series, i, after(series.at, to, i, series.size)) : 0;
}

/** Returns the greatest of the values number `i` to `end - 1`. */
function greatest(series, i, end) {
  let most = 0;
  while (i < end) {
    if (i % COARSE === 0 && i + COARSE <= end) {
      most = Math.max(most, series.coarse[i / COARSE]);
      i += COARSE;
    } else {
      most = Math.max(most, series.value[i]);
      i += 1;
    }
  }
  return most;
}

/** The rules by which an event moves goroutines; `trefoil-trace` describes them. */
function record(queues) {
  const { trace, numbers, lists } = queues;
  const { K, total, time, kind, m, p, how, place, n, a, b } = trace;
  const yielded = new Map();
  const ringOf = (i) => numbers.ring(p[i], m[i]);
  const queueOf = (i) => {
    switch (place[i]) {
      case SLOT: return numbers.slot(p[i], m[i]);
      case RING: return ringOf(i);
      case GLOBAL: return numbers.global;
      case INBOX: return numbers.inbox;
      case PINNED: return numbers.pinned(Math.min(kind[i] === K.put && how[i] === 0 ? n[i] : m[i], trace.ms - 1));
      case HAND: return numbers.hand(m[i]);
      default: return 0;
    }
  };
  const put = (i, g) => {
    const queue = queueOf(i);
    // Marked, with the timers, nowhere: another record will put it, or has done so.
    if (queue === 0) return;
    if (place[i] === SLOT && lists.head[queue] && lists.head[queue] !== g) {
      queues.move(lists.head[queue], ringOf(i));
    }
    queues.move(g, queue);
  };
  const takeOldest = (from, most, to) => {
    for (let left = most; left > 0 && lists.head[from]; left--) queues.move(lists.head[from], to);
  };
  const rules = [];
  rules[K.create] = (i) => put(i, a[i]);
  rules[K.ready] = (i) => put(i, a[i]);
  rules[K.put] = (i) => put(i, a[i]);
  rules[K.switch] = (i) => {
    if (b[i]) queues.move(b[i], 0);
    if (a[i] && how[i] === YIELD) {
      queues.move(a[i], ringOf(i));
      yielded.set(m[i], a[i]);
    }
  };
  rules[K.overflow] = (i) => {
    queues.move(a[i], 0);
    const ring = ringOf(i);
    // More than twice as many: a thief's record is still to come, for the oldest.
    let from = lists.head[ring];
    for (let more = lists.length[ring] - 2 * n[i]; more > 0; more--) from = lists.next[from];
    for (let left = n[i]; left > 0 && from; left--) {
      const g = from;
      from = lists.next[from];
      queues.move(g, numbers.global);
    }
    if (a[i]) queues.move(a[i], numbers.global);
  };
  rules[K.chain_end] = (i) => {
    if (a[i]) queues.move(a[i], ringOf(i));
  };
  rules[K.steal] = (i) => {
    // The thief's record names the last that it took: the others stood just before it.
    for (const g of stolen(lists, numbers.ring(b[i]), a[i], n[i])) queues.move(g, ringOf(i));
    if (a[i]) queues.move(a[i], numbers.hand(m[i]));
  };
  rules[K.share] = (i) => {
    if (lists.where[a[i]] === numbers.global) {
      // In front of it may stand some that another M has taken, whose record is still to come.
      let left = n[i] - 1;
      for (let g = lists.next[a[i]]; g && left > 0; left--) {
        const next = lists.next[g];
        queues.move(g, ringOf(i));
        g = next;
      }
      queues.move(a[i], numbers.hand(m[i]));
      takeOldest(numbers.global, left, ringOf(i));
    } else if (a[i]) {
      queues.move(a[i], numbers.hand(m[i]));
    }
  };
  rules[K.snapshot] = (i) => compare(queues, i, yielded.get(m[i]) ?? 0);
  for (let i = 0; i < total; i++) {
    queues.first[i] = queues.rows;
    const rule = rules[kind[i]];
    if (kind[i] !== K.snapshot && yielded.size) yielded.delete(m[i]);
    if (rule === undefined) continue;
    rule(i);
    if (queues.touched.length) noteLengths(queues, time[i]);
  }
  queues.first[total] = queues.rows;
}

/** Returns those that a thief takes with `g`: up to `most - 1`, which stand just before it. */
function stolen(lists, ring, g, most) {
  const taken = [];
  if (!ring || lists.where[g] !== ring) return taken;
  for (let other = lists.prev[g]; other && taken.length < most - 1; other = lists.prev[other]) taken.push(other);
  return taken.reverse();
}

/** How far a comparison looks ahead for a thief's record: 10 ms. */
const NEAR = 1e7;

/**
 * Compares the queues with a snapshot that the kernel has recorded. The goroutine that has just
 * yielded on this M enters the ring when its registers are saved: after the snapshot.
 *
 * The replay goes on from a snapshot that differs. A recorder in flight mode has lost the beginning:
 * there the first snapshot is the beginning.
 */
function compare(queues, i, yielded) {
  const { trace, numbers, lists } = queues;
  const told = trace.snapshots[trace.extra[i] - 1];
  if (!told) return;
  const p = trace.p[i];
  const ring = p === NO_P ? numbers.global : numbers.ring(p);
  const slot = p === NO_P ? 0 : numbers.slot(p);
  const isFirst = trace.cut && !queues.known.has(ring);
  queues.known.add(ring);
  if (!isFirst) queues.snapshots.push(i);
  const isSlot = slot === 0 || lists.head[slot] === trace.a[i];
  const is = lists.list(ring).filter((g) => g !== yielded);
  if (isSlot && isSame(is, told)) return;
  if (!isFirst && isThief(queues, i, is, told, isSlot)) return;
  if (!isFirst) queues.wrong.push(i);
  for (const g of is) queues.move(g, 0);
  for (const g of told) queues.move(g, ring);
  if (yielded && lists.where[yielded] === ring) queues.move(yielded, ring);
  if (!isSlot) {
    if (lists.head[slot]) queues.move(lists.head[slot], 0);
    if (trace.a[i]) queues.move(trace.a[i], slot);
  }
}

function isSame(list, other) {
  return list.length === other.length && list.every((g, at) => g === other[at]);
}

/** Returns true if thieves explain the difference, whose records come after what they did. */
function isThief(queues, i, is, told, isSlot) {
  const { trace } = queues;
  const { K, kind, time, m, n, a, b } = trace;
  const p = trace.p[i];
  let left = is;
  let slotIsRight = isSlot;
  for (let later = i + 1; later < trace.total && time[later] <= time[i] + NEAR; later++) {
    if (kind[later] !== K.steal || p === NO_P || b[later] !== p || m[later] === m[i]) continue;
    const at = left.indexOf(a[later]);
    if (at >= 0) left = [...left.slice(0, Math.max(at + 1 - n[later], 0)), ...left.slice(at + 1)];
    else if (queues.lists.head[queues.numbers.slot(p)] === a[later]) slotIsRight = trace.a[i] === 0;
    if (slotIsRight && isSame(left, told)) return true;
  }
  return false;
}
