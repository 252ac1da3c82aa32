// Each event as a sentence, with the rule of the book and the function that decided.
//
// A sentence is a list of texts and goroutines; the page makes buttons of the goroutines. The key
// of an event leads to its row in the table of rules, which `cargo-trefoil/src/html/rules.rs` keeps.

/** A goroutine within a sentence. */
const G = (g) => ({ g });

/** Says where the P's queue is, as the record of event `i` means it. */
function placeText(trace, i, p = trace.p[i]) {
  const of = p === NO_P ? 'a P' : `P${p}`;
  switch (trace.place[i]) {
    case SLOT: return `${of}’s slot`;
    case RING: return `the end of ${of}’s ring`;
    case GLOBAL: return 'the end of the global queue';
    case INBOX: return 'the inbox';
    case PINNED: return 'the queue of its own M';
    case HAND: return 'the M’s hand, to run at once';
    case MARKED: return 'no queue yet: it is on its way off its core, and that core will queue it';
    default: return 'no queue';
  }
}

/** Says where a switch took the goroutine from. */
function takenFrom(trace, i) {
  const of = trace.p[i] === NO_P ? 'its P' : `P${trace.p[i]}`;
  switch (trace.place[i]) {
    case SLOT: return `from ${of}’s slot`;
    case RING: return `from the head of ${of}’s ring`;
    case GLOBAL: return 'from the global queue';
    case INBOX: return 'from the inbox';
    case PINNED: return 'from its own queue of pinned goroutines';
    case HAND: return 'which it has in hand';
    default: return '';
  }
}

/** The goroutine that runs on the M of event `i` just before it; 0: none. */
function actor(trace, i) {
  return current(app.cores.ms[trace.m[i]], i);
}

/** The texts of each kind: functions of the trace and the number of the event. */
const SAY = {
  create: (t, i) => [...by(t, i), ' creates ', G(t.a[i]), ', which goes to ', placeText(t, i), '.'],
  switch: saySwitch,
  ready: (t, i) => {
    const who = [by(t, i), ['A timer'], ['An interrupt'], ['The look at its stack is over: the core'], ['Other work on g0']][t.how[i]] ?? ['The scheduler'];
    return [...who, ' readies ', G(t.a[i]), ', which goes to ', placeText(t, i), '.'];
  },
  put: (t, i) => {
    const reason = t.how[i] === PREEMPT ? ', whose slice is over,' : t.how[i] === YIELD ? ', which yielded,' : '';
    return [`M${t.m[i]} puts `, G(t.a[i]), `${reason} into `, placeText(t, i), '.'];
  },
  overflow: (t, i) => [`P${t.p[i]}’s ring is full: its ${many(t.n[i], 'oldest goroutine')} and then `, G(t.a[i]), ' go to the global queue.'],
  steal: (t, i) => [`M${t.m[i]} steals ${many(t.n[i], 'goroutine')} from P${t.b[i]}’s ${t.placeName[t.place[i]]}, and runs `, G(t.a[i]), '.'],
  share: (t, i) => [`M${t.m[i]} takes a share of ${many(t.n[i], 'goroutine')} from the global queue, and runs `, G(t.a[i]), t.n[i] > 1 ? '; the others go to the end of its ring.' : '.'],
  block: (t, i) => [G(t.a[i]), ` is about to block: M${t.m[i]} gives its P away.`],
  block_end: (t, i) => [G(t.a[i]), ` is back from blocking on M${t.m[i]}.`],
  pin: (t, i) => [G(t.a[i]), ` is pinned to M${t.n[i]} from now on.`],
  unpin: (t, i) => [G(t.a[i]), ' is not pinned any more.'],
  hold: (t, i) => [`M${t.m[i]} takes P${t.p[i]}`, ['', ', which was handed over', ', back from a block'][t.how[i]] ?? '', '.'],
  release: (t, i) => [`M${t.m[i]} gives P${t.p[i]} up`, [' to rest', ' to block', ': there are to be fewer P’s', ': it hands the P over'][t.how[i]] ?? '', '.'],
  procs: (t, i) => [`There are to be ${t.n[i]} P’s; there were ${t.b[i]}.`],
  tick: (t, i) => [`M${t.m[i]} makes its 61st dispatch: the global queue goes first.`],
  spin: (t, i) => [`M${t.m[i]} has no work, and begins to look into other P’s queues.`],
  spin_end: (t, i) => [`M${t.m[i]} ends its search${t.how[i] === 1 ? ' with work' : ' without work'}.`],
  rest: (t, i) => [t.how[i] === 1 ? `M${t.m[i]} naps, and keeps its P.` : `M${t.m[i]} finds nothing to run, and rests.`],
  rise: (t, i) => [`M${t.m[i]} gets up${t.how[i] === 1 ? ': another M has woken it' : ''}.`],
  woken: (t, i) => [t.how[i] === 1 ? `M${t.m[i]} was woken, and has found a goroutine to run.` : `M${t.m[i]} was woken in vain.`],
  wake: (t, i) => [t.how[i] === 1 ? `An interrupt on M${t.m[i]} wakes M${t.a[i]}.` : `M${t.m[i]} wakes M${t.a[i]}: there is work that it could run.`],
  defer: (t, i) => [`M${t.m[i]} puts a wake-up off: the budget for wake-ups is used up.`],
  ipi_received: (t, i) => [`M${t.m[i]} gets another core’s interrupt.`],
  ipi_sent: (t, i) => [`M${t.m[i]} interrupts the core of M${t.a[i]}.`],
  alarm: (t, i) => [`M${t.m[i]}’s one-shot rings`, t.how[i] & 1 ? ': a timer is due' : '', t.how[i] & 2 ? `${t.how[i] & 1 ? ', and' : ':'} the slice is over` : '', '.'],
  slice_end: (t, i) => [G(t.a[i]), t.how[i] === 1 ? ' has to make way for a due timer or an interrupt’s goroutine.' : ' has run for its whole slice, and has to make way.'],
  ripe: (t, i) => [G(t.a[i]), ` has waited too long in P${t.p[i]}’s slot: any thief may take it.`],
  chain_end: (t, i) => [G(t.a[i]), `, in P${t.p[i]}’s slot, goes behind the ring: the slice of its chain is over.`],
  arm: (t, i) => [`M${t.m[i]} sets its one-shot for ${moment(t.b[i])}.`],
  timer_set: (t, i) => [t.a[i] ? G(t.a[i]) : 'A function', t.a[i] ? ' is to wake at ' : ' is to be called at ', moment(t.b[i]), '.'],
  timer_fired: (t, i) => ['The timer of ', t.a[i] ? G(t.a[i]) : 'a function', ' fires.'],
  timer_cancel: (t, i) => ['The timer of ', t.a[i] ? G(t.a[i]) : 'a function', ' is taken back.'],
  grow: (t, i) => ['The stack of ', G(t.a[i]), ` grows to ${bytes(t.b[i])}.`],
  shrink: (t, i) => ['The stack of ', G(t.a[i]), ` shrinks to ${bytes(t.b[i])}.`],
  pack: (t, i) => ['The stack of ', G(t.a[i]), `, which has waited long, is packed into ${bytes(t.b[i])}.`],
  unpack: (t, i) => ['The stack of ', G(t.a[i]), ' is unpacked.'],
  epoch: (t, i) => [`An epoch of the scavenger ends: ${many(t.b[i], 'frame')} go back.`],
  pressure: (t, i) => [`The heap runs low on M${t.m[i]}, and asks for memory back.`],
  frames: (t, i) => [`${count(t.a[i])} of ${count(t.b[i])} frames are free.`],
  log: (t, i) => [...by(t, i), ` says: “${logText(t, i)}”.`],
  region_begin: (t, i) => [...by(t, i), ` enters the region “${t.strings[t.extra[i]] ?? ''}”.`],
  region_end: (t, i) => [...by(t, i), ' leaves its region.'],
  task_begin: (t, i) => [`Task ${t.a[i]} “${t.strings[t.extra[i]] ?? ''}” begins.`],
  task_end: (t, i) => [`Task ${t.a[i]} ends.`],
  begin: (t, i) => [`The recorder begins on M${t.m[i]}`, ...(t.a[i] ? [', which runs ', G(t.a[i])] : []), '.'],
  snapshot: (t, i) => [t.p[i] === NO_P ? 'The kernel notes the global queue as it is.' : `The kernel notes the queues of P${t.p[i]} as they are.`],
};

/** Returns a log line: its category, of `n` characters, and its message. */
function logText(t, i) {
  const text = t.strings[t.extra[i]] ?? '';
  const message = text.slice(t.n[i]);
  return t.n[i] && t.n[i] <= text.length ? `${text.slice(0, t.n[i])}: ${message}` : text;
}

/** Begins a sentence with the goroutine that acts, or with its M. */
function by(trace, i) {
  const g = actor(trace, i);
  return g ? [G(g), ` on M${trace.m[i]}`] : [`M${trace.m[i]}`];
}

function saySwitch(t, i) {
  const reason = t.how[i];
  const leaves = t.a[i];
  const start = [];
  if (leaves) {
    const goes = reason === YIELD ? ` yields, and goes to the end of P${t.p[i]}’s ring. `
      : reason === PREEMPT ? ' is preempted. '
        : reason === END ? ' has ended. '
          : reason === DEATH ? ' dies where it stands. '
            : ` waits: ${why(t, reason)}. `;
    start.push(G(leaves), goes);
  }
  if (!t.b[i]) return [...start, `M${t.m[i]} goes to g0 to search for work.`];
  return [...start, `M${t.m[i]} runs `, G(t.b[i]), ...(takenFrom(t, i) ? [', ', takenFrom(t, i)] : []), '.'];
}

/** The keys of an event in the table of rules, the closest first. */
function ruleKeys(trace, i) {
  const name = (trace.kindName[trace.kind[i]] ?? '').replaceAll(' ', '_');
  const place = trace.placeName[trace.place[i]]?.replaceAll(' ', '_');
  const keys = [`${name}.${place}`, name];
  if (name === 'switch') {
    const reason = trace.how[i];
    if (!trace.b[i]) keys.unshift('switch.to_g0');
    else if (!trace.a[i]) keys.unshift(`switch.from_g0.${place}`);
    if (reason === PREEMPT) keys.unshift('switch.preempt');
    else if (reason >= END) keys.unshift('switch.end');
  }
  if (name === 'put' && trace.how[i] === PREEMPT) keys.unshift('put.preempt');
  if (name === 'ready' && trace.how[i] === 1) keys.unshift('ready.timer');
  return keys;
}

/** Returns the sentence of event `i`: its parts, its text, and its rule. */
function sentence(trace, i) {
  const name = trace.kindName[trace.kind[i]]?.replaceAll(' ', '_');
  const parts = SAY[name]?.(trace, i) ?? [`An event of a kind that this page does not know (${trace.kind[i]}).`];
  const key = ruleKeys(trace, i).find((one) => trace.rules[one]);
  return { parts, text: parts.map((part) => (part.g === undefined ? part : gName(trace, part.g))).join(''), rule: trace.rules[key], key };
}

/** Makes elements of a sentence's parts. */
function spell(parts) {
  return parts.map((part) => (part.g === undefined ? part : gButton(part.g)));
}

/** Makes the lines that say which rule of the book, and which function, an event comes from. */
function ruleLines(rule) {
  if (!rule) return null;
  return el('p', { class: 'rule' },
    el('q', {}, rule.says), ' ',
    el('span', { class: 'source' }, el('cite', { title: 'The page of the book, and its heading' }, `${rule.page}${rule.headingLine ? `:${rule.headingLine}` : ''} § ${rule.heading}`), ' · ',
      el('code', { title: 'The function that decides' }, `${rule.file}${rule.functionLine ? `:${rule.functionLine}` : ''} ${rule.function}`)));
}
