// The panel of a goroutine: its life, its creators, and why it waited.

/** The longest waits that the panel lists. */
const LONGEST = 5;

/** The most moves of queues that an explanation follows. */
const FOLLOWED = 20000;

/** The goroutine and the piece of its life that the panel shows. */
const shown = { g: 0, piece: -1, timer: 0 };

/** Returns the piece of the selected goroutine at the present moment, or -1. */
function presentPiece() {
  const { gs, selected } = app;
  const i = after(gs.ev, replay.at - 1, gs.first[selected], gs.first[selected + 1]) - 1;
  return i < gs.first[selected] ? -1 : i;
}

/** Fills the panel anew, a little later, if the goroutine has come to another piece of its life. */
function followDetail() {
  if (!app.selected || !app.ready) return;
  clearTimeout(shown.timer);
  shown.timer = setTimeout(() => {
    if (shown.g === app.selected && shown.piece === presentPiece()) return;
    const top = part('detail').scrollTop;
    const isSame = shown.g === app.selected;
    showDetail();
    if (isSame) part('detail').scrollTop = top;
  }, replay.playing ? 400 : 120);
}

/** Fills the panel for the selected goroutine. */
function showDetail() {
  const panel = part('detail');
  shown.g = app.selected;
  shown.piece = app.selected ? presentPiece() : -1;
  const { trace, gs } = app;
  const g = app.selected;
  if (!g) {
    panel.replaceChildren(el('p', { class: 'empty' }, 'Choose a goroutine in a timeline, in the picture or in a table. This panel then shows its life and why it waited.'));
    return;
  }
  const info = trace.gs[g];
  const [from, to] = [gs.first[g], gs.first[g + 1]];
  const run = gs.ran[to] - gs.ran[from];
  const queued = gs.queued[to] - gs.queued[from];
  const last = to > from ? gs.state[to - 1] : UNSEEN;
  const ended = last === GONE ? gs.start[to - 1] : null;
  const whole = to > from ? (ended ?? trace.end) - gs.start[from] : 0;
  fill(panel,
    el('header', {},
      el('h2', { id: 'detail-name' }, gName(trace, g)),
      el('button', { type: 'button', class: 'close', 'aria-label': 'Close the panel', onclick: () => app.select(0) }, '×')),
    el('p', { class: 'function' }, el('code', {}, gFunction(trace, g))),
    el('p', { class: 'note' }, `spawned at ${gSite(trace, g)}`),
    el('dl', { class: 'sums' },
      figure('ran', duration(run)), figure('waited for a core', duration(queued)), figure('slept', duration(Math.max(whole - run - queued, 0))),
      figure(ended === null ? 'at the end' : 'ended', ended === null ? STATE_NAMES[last] : moment(ended))),
    presentWait(g),
    waitsOf(g),
    creators(g),
    notesOf(g),
    lifeOf(g),
  );
}

function figure(name, value) {
  return el('div', {}, el('dt', {}, name), el('dd', {}, value));
}

/** The chain of creators, with the stack at each creation. */
function creators(g) {
  const { trace } = app;
  const rows = [];
  let now = g;
  while (now && rows.length < 20) {
    const info = trace.gs[now];
    const stack = trace.stacks[info.stack - 1];
    rows.push(el('li', {},
      info.created ? [info.creator ? ['by ', gButton(info.creator)] : 'by the machine', ' at ', eventButton(info.created - 1)] : 'before the trace began',
      stack ? stackOf(stack) : null));
    now = info.created ? info.creator : 0;
  }
  return el('details', { class: 'creators', open: true }, el('summary', {}, 'Created'), el('ol', {}, rows));
}

/** A stack as lines, innermost first. */
function stackOf(frames) {
  return el('ol', { class: 'stack' }, frames.map((frame) => {
    const [name, place] = app.trace.strings[frame].split('  ');
    return el('li', {}, el('code', {}, name), place ? el('span', { class: 'note' }, ` ${place}`) : null);
  }));
}

/** The button that leads to an event. */
function eventButton(i, text) {
  return el('button', { type: 'button', class: 'event', 'data-event': i, onclick: () => app.go(i, true) }, text ?? moment(app.trace.time[i]));
}

/** Explains the wait that the goroutine is in at the present moment. */
function presentWait(g) {
  const { gs } = app;
  const { piece } = shown;
  if (piece < 0 || gs.state[piece] !== RUNNABLE && gs.state[piece] !== WAITING) return null;
  const isQueued = gs.state[piece] === RUNNABLE;
  return el('section', { class: 'present' },
    el('h3', {}, `At present it ${isQueued ? 'waits for a core' : `waits: ${why(app.trace, app.trace.how[gs.ev[piece]])}`}, ${duration(gs.end[piece] - gs.start[piece])} in all`),
    isQueued ? explainWait(g, piece) : explainSleep(g, piece));
}

/** The goroutine's longest waits for a core and for others, each with its explanation. */
function waitsOf(g) {
  const { gs } = app;
  const longest = (state) => {
    const found = [];
    for (let i = gs.first[g]; i < gs.first[g + 1]; i++) if (gs.state[i] === state) found.push(i);
    return found.sort((x, y) => gs.end[y] - gs.start[y] - (gs.end[x] - gs.start[x])).slice(0, LONGEST);
  };
  const section = (title, state, explain) => {
    const pieces = longest(state);
    if (!pieces.length) return null;
    return el('section', {}, el('h3', {}, title), pieces.map((piece, at) => {
      const details = el('details', { class: 'why' }, el('summary', {}, el('b', {}, duration(gs.end[piece] - gs.start[piece])), ` from ${moment(gs.start[piece])}`));
      const fill = () => { if (details.open && details.childElementCount === 1) details.append(explain(g, piece)); };
      details.addEventListener('toggle', fill);
      if (at === 0 && state === RUNNABLE && gs.state[shown.piece] !== RUNNABLE) { details.open = true; fill(); }
      return details;
    }));
  };
  return el('div', { class: 'waits' },
    section('Why did it wait for a core? The longest', RUNNABLE, explainWait),
    section('What did it sleep for? The longest', WAITING, explainSleep));
}

/** Explains a wait for a core: the waker, the queue, and the others that ran meanwhile. */
function explainWait(g, piece) {
  const { trace, gs } = app;
  const [from, to] = [gs.start[piece], gs.end[piece]];
  const begin = gs.ev[piece];
  const isLast = piece + 1 >= gs.first[g + 1];
  const end = isLast ? trace.total - 1 : gs.ev[piece + 1];
  const way = followQueues(g, begin, end);
  const ran = ranMeanwhile(way, g, from, to);
  const total = ran.reduce((sum, [, time]) => sum + time, 0);
  const queueList = way.steps.filter((step, at) => at === 0 || step.queue !== way.steps[at - 1].queue);
  const numbers = app.queues.numbers;
  return el('div', { class: 'explained' },
    readied(g, begin),
    el('p', {}, el('b', {}, 'Place: '), queueList.length
      ? queueList.flatMap((step, at) => [at ? ', then ' : '', `${numbers.name(step.queue)} behind ${step.ahead}`]) : 'in no queue: it was taken at once',
    way.cut ? ' (the start of the wait only: it was long)' : '', '.'),
    placeChart(way, from, to),
    ran.length ? el('div', {}, el('p', {}, el('b', {}, 'Meanwhile on '), way.ps.length ? way.ps.map((p) => `P${p}`).join(', ') : 'all P’s', ':'),
      el('ul', { class: 'shares' }, ran.slice(0, 6).map(([other, time]) => el('li', {}, gButton(other), ` ran ${duration(time)}`,
        bar(time / total)))),
      ran.length > 6 ? el('p', { class: 'note' }, `and ${many(ran.length - 6, 'more goroutine')}`) : null) : el('p', {}, 'Nothing ran there meanwhile: the M was searching, or asleep.'),
    isLast ? el('p', {}, 'The trace ends before a core takes it.') : el('p', {}, el('b', {}, 'Taken: '), spell(sentence(trace, end).parts), ' ', eventButton(end)));
}

/** A bar as long as a share. */
function bar(share) {
  const inner = el('i');
  inner.style.width = `${(share * 100).toFixed(1)}%`;
  return el('span', { class: 'share', 'aria-hidden': 'true' }, inner);
}

/** Says who readied a goroutine: it may have been before the goroutine had left its core. */
function readied(g, begin) {
  const { trace } = app;
  const { K, kind, a } = trace;
  const line = (name, i) => el('p', {}, el('b', {}, name), spell(sentence(trace, i).parts), ' ', eventButton(i));
  if (kind[begin] !== K.put) return line(kind[begin] === K.switch ? 'Left: ' : kind[begin] === K.create ? 'Created: ' : 'Readied: ', begin);
  for (let i = begin - 1, looked = 0; i >= 0 && looked < FOLLOWED; i--, looked++) {
    if (kind[i] === K.ready && a[i] === g) return [line('Readied: ', i), line('Then: ', begin)];
    if (kind[i] === K.switch && trace.b[i] === g) break;
  }
  return line('Left: ', begin);
}

/** Follows a goroutine's place in the queues from event `begin` to event `end`. */
function followQueues(g, begin, end) {
  const { queues } = app;
  const { lists, numbers, first } = queues;
  const back = queues.cursor;
  queues.seek(begin + 1);
  const steps = [];
  const seen = new Set();
  let cut = false;
  const note = (i) => {
    const { queue, ahead } = queues.place(g);
    if (!queue) return;
    const last = steps[steps.length - 1];
    if (!last || last.queue !== queue || last.ahead !== ahead) steps.push({ at: app.trace.time[i], queue, ahead });
    if (queue >= numbers.firstP && queue < numbers.firstM) seen.add((queue - numbers.firstP) >> 1);
  };
  note(begin);
  let looked = 0;
  for (let i = begin + 1; i < end; i++) {
    if (first[i] === first[i + 1]) continue;
    queues.seek(i + 1);
    const queue = lists.where[g];
    let touched = false;
    for (let row = first[i]; row < first[i + 1]; row++) touched ||= queues.from[row] === queue || queues.g[row] === g;
    if (touched) note(i);
    looked += 1;
    if (looked > FOLLOWED) {
      cut = true;
      break;
    }
  }
  queues.seek(back);
  return { steps, cut, ps: [...seen] };
}

/** Sums the times that others ran on the P's of a wait, longest first. */
function ranMeanwhile(way, g, from, to) {
  const { cores } = app;
  if (!way.ps.length) way = { ...way, ps: cores.ps.map((_, p) => p) };
  const sums = new Map();
  for (const p of way.ps) {
    const lane = cores.ps[p];
    if (!lane) continue;
    let looked = 0;
    for (let i = Math.max(after(lane.start, from, 0, lane.size) - 1, 0); i < lane.size && lane.start[i] < to && looked < FOLLOWED; i++, looked++) {
      const time = Math.min(lane.end[i], to) - Math.max(lane.start[i], from);
      if (time > 0 && lane.g[i] !== g) sums.set(lane.g[i], (sums.get(lane.g[i]) ?? 0) + time);
    }
  }
  return [...sums].sort((x, y) => y[1] - x[1]);
}

/** Draws how many stood in front of the goroutine over time. */
function placeChart(way, from, to) {
  if (way.steps.length < 2 || to <= from) return null;
  const [width, height] = [300, 48];
  const most = Math.max(...way.steps.map((step) => step.ahead), 1);
  const x = (t) => ((t - from) / (to - from)) * width;
  const y = (ahead) => height - 3 - (ahead / most) * (height - 8);
  let path = '';
  way.steps.forEach((step, at) => {
    path += at ? `H${x(step.at).toFixed(1)}V${y(step.ahead).toFixed(1)}` : `M${x(step.at).toFixed(1)} ${y(step.ahead).toFixed(1)}`;
  });
  path += `H${width}`;
  return el('figure', {}, shape('svg', { viewBox: `0 0 ${width} ${height}`, class: 'steps', role: 'img', 'aria-label': `Goroutines in front of it over time: ${most} at most` }, shape('path', { d: path })),
    el('figcaption', {}, `In front of it over time: ${most} at most`));
}

/** Explains a wait for something else. */
function explainSleep(g, piece) {
  const { trace, gs } = app;
  const begin = gs.ev[piece];
  const end = piece + 1 < gs.first[g + 1] ? gs.ev[piece + 1] : -1;
  const stack = trace.stacks[trace.extra[begin] - 1];
  const object = trace.n[begin];
  return el('div', { class: 'explained' },
    el('p', {}, el('b', {}, 'Left: '), spell(sentence(trace, begin).parts), ' ', eventButton(begin), object ? el('span', { class: 'note' }, ` object …${object.toString(16)}`) : null),
    stack ? stackOf(stack) : null,
    end < 0 ? el('p', {}, 'Nothing readied it before the trace ended.') : el('p', {}, el('b', {}, 'Readied: '), spell(sentence(trace, end).parts), ' ', eventButton(end)));
}

/** Lists what the goroutine has said of itself: log lines, regions and tasks, around the present. */
function notesOf(g) {
  const { trace, notes } = app;
  const own = notes.ev.filter((_, at) => notes.g[at] === g);
  if (!own.length) return null;
  const here = after(own, replay.at - 1, 0, own.length);
  const begin = clamp(here - 8, 0, Math.max(own.length - 16, 0));
  return el('section', {}, el('h3', {}, `Its own notes: ${count(own.length)}`),
    el('ul', { class: 'notes' }, own.slice(begin, begin + 16).map((i) => el('li', { class: i === replay.at - 1 ? 'here' : '' }, eventButton(i), ' ', sentence(trace, i).parts.filter((part) => part.g === undefined).join('').replace(/^ on M\d+ ?/, '')))));
}

/** The pieces of its life around the present moment. */
function lifeOf(g) {
  const { gs, trace } = app;
  const [from, to] = [gs.first[g], gs.first[g + 1]];
  const here = clamp(gPieceAt(gs, g, app.now()), from, Math.max(to - 1, from));
  const begin = Math.max(here - 6, from);
  const end = Math.min(begin + 14, to);
  const rows = [];
  for (let i = begin; i < end; i++) {
    const state = gs.state[i];
    const text = state === WAITING ? why(trace, trace.how[gs.ev[i]]) : state === RUNNING ? `runs on M${trace.m[gs.ev[i]]}` : STATE_NAMES[state];
    rows.push(el('tr', { class: i === here ? 'here' : '' }, el('td', {}, eventButton(gs.ev[i])), el('td', {}, el('i', { class: `state state-${state}` }), text),
      el('td', { class: 'number' }, state === GONE ? '' : duration(gs.end[i] - gs.start[i]))));
  }
  return el('section', { class: 'life' }, el('h3', {}, 'Life'),
    el('p', { class: 'note' }, `Pieces ${count(begin - from + 1)} to ${count(end - from)} of ${count(to - from)}, around the present moment.`),
    el('table', {}, el('tbody', {}, rows)));
}
