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
//   queue 0: none   1: global   2: inbox   then for each P its slot and ring, for each M its own
//   queue of pinned goroutines and its hand

/** The numbers of the queues of a machine. */
class Numbering {
  constructor(trace) {
    this.global = 1;
    this.inbox = 2;
    this.firstP = 3;
    this.firstM = 3 + 2 * trace.ps;
    this.total = this.firstM + 2 * trace.ms;
    this.ps = trace.ps;
  }

  slot(p) {
    return p < this.ps ? this.firstP + 2 * p : 0;
  }

  ring(p) {
    return p < this.ps ? this.firstP + 2 * p + 1 : 0;
  }

  pinned(m) {
    return this.firstM + 2 * m;
  }

  hand(m) {
    return this.firstM + 2 * m + 1;
  }

  /** Returns the name of a queue in sentences. */
  name(queue) {
    if (queue === 0) return 'no queue';
    if (queue === this.global) return 'the global queue';
    if (queue === this.inbox) return 'the inbox';
    const at = queue < this.firstM ? queue - this.firstP : queue - this.firstM;
    if (queue < this.firstM) return at % 2 ? `P${at >> 1}’s ring` : `P${at >> 1}’s slot`;
    return at % 2 ? `M${at >> 1}’s hand` : `M${at >> 1}’s pinned queue`;
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
  const pinnedTo = new Map();
  const queueOf = (i, g) => {
    switch (place[i]) {
      case SLOT: return numbers.slot(p[i]);
      case RING: return numbers.ring(p[i]);
      case GLOBAL: return numbers.global;
      case INBOX: return numbers.inbox;
      case PINNED: return numbers.pinned(Math.min(pinnedTo.get(g) ?? m[i], trace.ms - 1));
      case HAND: return numbers.hand(m[i]);
      default: return 0;
    }
  };
  const put = (i, g) => {
    const queue = queueOf(i, g);
    if (place[i] === SLOT && queue && lists.head[queue] && lists.head[queue] !== g) {
      queues.move(lists.head[queue], numbers.ring(p[i]));
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
    if (a[i] && how[i] === YIELD) queues.move(a[i], numbers.ring(p[i]));
  };
  rules[K.overflow] = (i) => {
    queues.move(a[i], 0);
    takeOldest(numbers.ring(p[i]), n[i], numbers.global);
    if (a[i]) queues.move(a[i], numbers.global);
  };
  rules[K.chain_end] = (i) => {
    if (a[i]) queues.move(a[i], numbers.ring(p[i]));
  };
  rules[K.steal] = (i) => {
    // The thief's record names the last that it took: the others stood just before it.
    if (lists.where[a[i]] && lists.where[a[i]] === numbers.ring(b[i])) {
      const taken = [];
      for (let g = lists.prev[a[i]]; g && taken.length < n[i] - 1; g = lists.prev[g]) taken.push(g);
      for (const g of taken.reverse()) queues.move(g, numbers.ring(p[i]));
    }
    if (a[i]) queues.move(a[i], numbers.hand(m[i]));
  };
  rules[K.share] = (i) => {
    if (a[i]) queues.move(a[i], numbers.hand(m[i]));
    takeOldest(numbers.global, n[i] - 1 - b[i], numbers.ring(p[i]));
    takeOldest(numbers.global, b[i], numbers.global);
  };
  rules[K.pin] = (i) => pinnedTo.set(a[i], n[i]);
  rules[K.unpin] = (i) => pinnedTo.delete(a[i]);
  rules[K.snapshot] = (i) => compare(queues, i);
  for (let i = 0; i < total; i++) {
    queues.first[i] = queues.rows;
    const rule = rules[kind[i]];
    if (rule === undefined) continue;
    rule(i);
    if (queues.touched.length) noteLengths(queues, time[i]);
  }
  queues.first[total] = queues.rows;
}

/**
 * Compares the queues with a snapshot that the kernel has recorded, and goes on from the snapshot.
 * A recorder in flight mode has lost the beginning: there the first snapshot is the beginning.
 */
function compare(queues, i) {
  const { trace, numbers, lists } = queues;
  const told = trace.snapshots[trace.extra[i] - 1];
  if (!told) return;
  const isGlobal = trace.p[i] === NO_P;
  const pairs = isGlobal
    ? [[numbers.global, told]]
    : [[numbers.slot(trace.p[i]), trace.a[i] ? [trace.a[i]] : []], [numbers.ring(trace.p[i]), told]];
  let equal = true;
  for (const [queue, wanted] of pairs) {
    const is = lists.list(queue);
    if (is.length === wanted.length && is.every((g, at) => g === wanted[at])) continue;
    equal = false;
    for (const g of is) queues.move(g, 0);
    for (const g of wanted) queues.move(g, queue);
  }
  queues.snapshots.push(i);
  if (!equal) queues.wrong.push(i);
}
