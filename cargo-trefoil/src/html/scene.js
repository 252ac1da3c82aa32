// The picture: G's as circles (red: running, grey: queued), M's as triangles, P's as squares with
// their queues, the global queue above.
//
//      ○ ○ ○ ○  global queue
//      ●         ●          running G's
//      △ M0      △ M1       the M that carries each
//      □ P0 ○    □ P1 ◌     the P that the M holds, and its slot
//      ○                    the ring, oldest first
//      ○
//
// Every figure keeps its element from step to step, so a step moves it from place to place.

const RADIUS = 15;
const IN_RING = 5;
const STEP = 32;
const IN_GLOBAL = 40;
const COLUMN = 92;

const scene = { figures: new Map(), svg: null, layers: {} };

/** Draws the machine after the first `events` events. */
function drawScene(events) {
  const holder = part('scene');
  const width = Math.max(holder.clientWidth, 280);
  const { trace, queues, cores, gs } = app;
  if (!scene.svg) buildScene(holder);
  const lists = queues.seek(events);
  const states = gs.steps.seek(events);
  const { numbers } = queues;
  const most = Math.max(1, Math.floor((width - 24) / COLUMN));
  const perRow = Math.ceil(trace.ps / Math.ceil(trace.ps / most));
  const column = Math.min((width - 24) / perRow, 190);
  // A column reaches from its triangle on the left to the slot on the right.
  const left = (width - column * perRow) / 2 + column / 2 - 20;
  scene.seen = new Set();
  scene.fixed = [];

  // The global queue, and the inbox beside it if a goroutine is there.
  const inbox = lists.list(numbers.inbox, 8);
  const room = Math.max(3, Math.floor((width - 170 - (inbox.length ? 60 + inbox.length * 34 : 0)) / 34));
  const shownGlobal = Math.min(room - 2, IN_GLOBAL);
  box(12, 8, width - 24, 48, 'global', `global queue: ${lists.length[numbers.global] ? count(lists.length[numbers.global]) : 'empty'}`);
  lists.list(numbers.global, shownGlobal).forEach((g, at) => goroutine(g, 166 + at * 34, 32, 'queued'));
  const more = lists.length[numbers.global] - shownGlobal;
  if (more > 0) text(166 + shownGlobal * 34 - 8, 37, `+${count(more)}`, 'more');
  if (inbox.length) {
    text(width - 24 - inbox.length * 34, 37, 'inbox', 'label end');
    inbox.forEach((g, at) => goroutine(g, width - 30 - (inbox.length - 1 - at) * 34, 32, 'queued'));
  }

  // The M that holds each P.
  const holder_of = new Array(trace.ps).fill(-1);
  const loose = [];
  for (let m = 0; m < trace.ms; m++) {
    const p = current(cores.holds[m], events) - 1;
    if (p >= 0 && p < trace.ps && holder_of[p] < 0) holder_of[p] = m;
    else loose.push(m);
  }
  let longest = 0;
  for (let p = 0; p < trace.ps; p++) longest = Math.max(longest, Math.min(lists.length[numbers.ring(p)], IN_RING + 1));
  const tall = 160 + Math.max(longest, 3) * STEP;
  for (let p = 0; p < trace.ps; p++) {
    const x = left + (p % perRow) * column;
    const y = 84 + Math.floor(p / perRow) * tall;
    drawP(p, holder_of[p], x, y, lists, numbers, events);
  }
  let y = 84 + Math.ceil(trace.ps / perRow) * tall;
  y = drawLoose(loose, y, width, events, lists, numbers);
  y = drawWaiting(states, y, width);
  text(14, y + 16, `${many(states.counts[RUNNING], 'G', 'G’s')} running, ${count(states.counts[RUNNABLE])} queued, ${count(states.counts[WAITING])} waiting, ${count(states.counts[GONE])} gone`, 'label');
  finishScene(width, y + 28);
}

function buildScene(holder) {
  scene.svg = shape('svg', { class: 'gmp', role: 'img', 'aria-label': 'Goroutines, machines and processors at this moment' });
  for (const layer of ['fixed', 'p', 'm', 'g']) scene.svg.append(scene.layers[layer] = shape('g'));
  holder.append(scene.svg);
  holder.addEventListener('click', (event) => {
    const figureOf = event.target.closest('[data-row]');
    if (figureOf) app.select(Number(figureOf.dataset.row));
  });
}

/** Draws a P's column: the running goroutine, the M, the P, the slot and the ring. */
function drawP(p, m, x, y, lists, numbers, events) {
  const running = m >= 0 ? current(app.cores.ms[m], events) : 0;
  if (running) goroutine(running, x, y, 'running');
  if (m >= 0) {
    machine(m, x, y + 42, events, running);
    const hand = lists.head[numbers.hand(m)];
    if (hand && hand !== running) goroutine(hand, x + 40, y + 24, 'queued hand');
    lists.list(numbers.pinned(m), 2).forEach((g, at) => goroutine(g, x - 40, y + 24 + at * 34, 'queued pinned'));
  }
  processor(p, x, y + 92, m >= 0);
  const slot = lists.head[numbers.slot(p)];
  scene.fixed.push(shape('circle', { cx: x + 48, cy: y + 92, r: RADIUS + 2, class: 'slot' }));
  text(x + 48, y + 124, 'slot', 'label middle');
  if (slot) goroutine(slot, x + 48, y + 92, 'queued');
  const length = lists.length[numbers.ring(p)];
  scene.fixed.push(shape('line', { x1: x, y1: y + 116, x2: x, y2: y + 126, class: 'thread' }));
  lists.list(numbers.ring(p), IN_RING).forEach((g, at) => goroutine(g, x, y + 144 + at * STEP, 'queued'));
  if (length > IN_RING) text(x, y + 144 + IN_RING * STEP - 4, `+${count(length - IN_RING)}`, 'more middle');
  if (!length) text(x, y + 142, 'ring: empty', 'label middle');
}

/** Draws the M's without a P: they rest, search, or block in place. */
function drawLoose(ms, y, width, events, lists, numbers) {
  if (!ms.length) return y;
  const perRow = Math.max(1, Math.floor((width - 24) / 76));
  text(14, y + 12, 'M’s without a P', 'label');
  ms.forEach((m, at) => {
    const x = 44 + (at % perRow) * 76;
    const top = y + 40 + Math.floor(at / perRow) * 84;
    const running = current(app.cores.ms[m], events);
    if (running) goroutine(running, x, top, 'running');
    machine(m, x, top + 30, events, running);
    const hand = lists.head[numbers.hand(m)];
    if (hand && hand !== running) goroutine(hand, x + 34, top + 14, 'queued hand');
  });
  return y + 24 + Math.ceil(ms.length / perRow) * 84;
}

/** Draws goroutines that wait for something else. */
function drawWaiting(states, y, width) {
  const perRow = Math.max(1, Math.floor((width - 40) / 30));
  const rows = 2;
  const shown = [];
  for (const g of states.waiting) {
    if (shown.length >= perRow * rows - 1) break;
    shown.push(g);
  }
  text(14, y + 14, states.waiting.size ? `waiting for something else: ${count(states.waiting.size)}` : 'no goroutine waits for something else', 'label');
  shown.forEach((g, at) => goroutine(g, 30 + (at % perRow) * 30, y + 38 + Math.floor(at / perRow) * 30, 'waiting'));
  return y + 28 + Math.max(1, Math.ceil(shown.length / perRow)) * 30;
}

function box(x, y, width, height, name, label) {
  scene.fixed.push(shape('rect', { x, y, width, height, rx: 10, class: name }));
  text(x + 12, y + height / 2 + 4, label, 'label');
}

function text(x, y, what, name) {
  const element = shape('text', { x, y, class: name });
  element.textContent = what;
  scene.fixed.push(element);
}

/** Returns the element with this key, and moves it to its place. */
function place(key, layer, x, y, name, build) {
  let figureOf = scene.figures.get(key);
  if (!figureOf) {
    figureOf = build();
    scene.figures.set(key, figureOf);
    scene.layers[layer].append(figureOf);
    figureOf.style.transform = `translate(${x}px, ${y}px)`;
  }
  scene.seen.add(key);
  const where = `translate(${x}px, ${y}px)`;
  if (figureOf.style.transform !== where) figureOf.style.transform = where;
  const wanted = `figure ${name}`;
  if (figureOf.getAttribute('class') !== wanted) figureOf.setAttribute('class', wanted);
  return figureOf;
}

function goroutine(g, x, y, state) {
  const { id, name } = app.trace.gs[g];
  const digitsOf = String(id);
  const short = digitsOf.length > 5 ? `…${digitsOf.slice(-4)}` : digitsOf;
  const marks = `${app.selected === g ? ' selected' : ''}${scene.involved?.has(g) ? ' involved' : ''}${app.matches(g) ? '' : ' dim'}`;
  place(`g${g}`, 'g', x, y, `g ${state}${marks}`, () => {
    const label = shape('text', { class: `number size-${Math.min(short.length, 5)}`, y: 4 });
    label.textContent = short;
    const title = shape('title');
    title.textContent = `G${id} ${name || gFunction(app.trace, g)}`;
    return shape('g', { 'data-row': g }, title, shape('circle', { r: RADIUS }), label);
  });
}

function machine(m, x, y, events, running) {
  const doing = running ? 0 : current(app.cores.idle[m], events);
  const state = running ? 'runs' : ['started', 'searches', 'spins', 'rests'][doing];
  const figureOf = place(`m${m}`, 'm', x, y, `m ${state}${scene.actor === m ? ' acting' : ''}`, () => {
    const label = shape('text', { class: 'name', y: 14 });
    label.textContent = `M${m}`;
    return shape('g', {}, shape('title'), shape('path', { d: 'M0 -22 L25 20 L-25 20 Z' }), label, shape('text', { class: 'doing', x: 28, y: 18 }));
  });
  figureOf.firstChild.textContent = `M${m} ${state}`;
  figureOf.lastChild.textContent = running ? '' : state;
}

function processor(p, x, y, isHeld) {
  place(`p${p}`, 'p', x, y, `p ${isHeld ? 'held' : 'idle'}`, () => {
    const label = shape('text', { class: 'name', y: 5 });
    label.textContent = `P${p}`;
    return shape('g', {}, shape('rect', { x: -23, y: -23, width: 46, height: 46, rx: 3 }), label);
  });
}

/** Removes figures that left the picture. */
function finishScene(width, height) {
  for (const [key, figureOf] of scene.figures) {
    if (scene.seen.has(key)) continue;
    figureOf.remove();
    scene.figures.delete(key);
  }
  scene.layers.fixed.replaceChildren(...scene.fixed);
  scene.svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  scene.svg.setAttribute('width', width);
  scene.svg.setAttribute('height', height);
}
