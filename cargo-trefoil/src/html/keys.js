// The keys. Every one stands in the table, which is also the overlay of `?`.

const KEYS = [
  ['Timeline', [
    ['← →  or  A D', 'pan', ['a', 'A', 'ArrowLeft'], () => app.pan(-0.2)],
    [null, null, ['d', 'D', 'ArrowRight'], () => app.pan(0.2)],
    ['W S  or  + −', 'zoom in and out around the present moment', ['w', 'W', '+', '='], () => app.zoom(0.6)],
    [null, null, ['s', 'S', '-'], () => app.zoom(1 / 0.6)],
    ['↑ ↓', 'choose a row', ['ArrowUp'], () => moveFocus(-1)],
    [null, null, ['ArrowDown'], () => moveFocus(1)],
    ['[ ]', 'previous and next piece of the row', ['['], () => movePiece(-1)],
    [null, null, [']'], () => movePiece(1)],
    ['Enter', 'choose the goroutine of the row at the present moment', ['Enter'], () => chooseRow()],
    ['F', 'zoom to the chosen goroutine: its piece at the present moment, or its life', ['f', 'F'], () => zoomToPiece()],
    ['0', 'show the whole run', ['0'], () => { app.view.whole(); app.changed(); }],
  ]],
  ['Replay', [
    [', .', 'one decision back and forward', [','], () => step(-1)],
    [null, null, ['.'], () => step(1)],
    ['Space', 'play and pause', [' '], () => play(!replay.playing)],
    ['Home End', 'to the start and the end', ['Home'], () => app.go(-1)],
    [null, null, ['End'], () => app.go(app.trace.total - 1)],
    ['Q', 'quiz: what runs next?', ['q', 'Q'], () => setQuiz(!quiz.on)],
    ['1 2 3 4', 'answer the quiz', null, null],
  ]],
  ['Page', [
    ['V then 1 to 5', 'views: timeline, replay, sites, goroutines, memory', null, null],
    ['G', 'between timeline and replay', ['g', 'G'], () => app.show(app.shown === 'replay' ? 'timeline' : 'replay')],
    ['/', 'filter', ['/'], () => byId('filter').focus()],
    ['Esc', 'close, clear, leave the filter', ['Escape'], () => escape()],
    ['T', 'light or dark', ['t', 'T'], () => toggleTheme()],
    ['?', 'these keys', ['?'], () => toggleKeys()],
  ]],
];

const ACTIONS = new Map();
let prefix = false;

/** Connects the keyboard. */
function listenToKeys() {
  for (const [, keys] of KEYS) for (const [, , names, action] of keys) for (const name of names ?? []) ACTIONS.set(name, action);
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { target, key } = event;
    const isText = target.matches('input[type=search], select');
    if (isText && key !== 'Escape') return;
    // A button, a slider and an open section keep their own keys.
    if (target.matches('button, summary, a, input') && (key === 'Enter' || key === ' ')) return;
    if (target.matches('input[type=range]') && (key.startsWith('Arrow') || key === 'Home' || key === 'End')) return;
    if (target.matches('[role=tab]') && (key.startsWith('Arrow') || key === 'Home' || key === 'End')) return;
    if (byId('keys').open && key !== '?') return;
    if (quiz.open && /^[1-4]$/.test(key) && quiz.options[key - 1]) {
      event.preventDefault();
      answer(quiz.options[key - 1]);
      return;
    }
    if (prefix && /^[1-5]$/.test(key)) {
      prefix = false;
      app.show(VIEWS[key - 1][0]);
      return;
    }
    prefix = key === 'v' || key === 'V';
    if (target.closest?.('.table, #detail, #view-memory') && (key === 'ArrowUp' || key === 'ArrowDown')) return;
    const action = ACTIONS.get(key);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

function moveFocus(by) {
  if (app.shown !== 'timeline') return;
  let next = timeline.focus;
  do next += by; while (next >= 0 && next < rowCount() && rowAt(next).kind === 'group');
  if (next < 0 || next >= rowCount()) return;
  timeline.focus = next;
  const box = byId('lanes');
  box.focus({ preventScroll: true });
  const row = rowAt(next);
  if (row.y - RULER < box.scrollTop) box.scrollTop = row.y - RULER;
  if (row.y + row.height > box.scrollTop + box.clientHeight) box.scrollTop = row.y + row.height - box.clientHeight;
  sayRow();
  app.changed();
}

/** Says the focused row at the present moment. */
function sayRow() {
  const row = rowAt(timeline.focus);
  const hit = pieceUnder(app.view.x(app.now()), row.y + 1);
  speak(`${row.kind === 'g' ? goroutineLabel(row.index) : row.name}: ${hit?.text || 'nothing'} at ${moment(app.now())}`);
}

/** Goes to the next or previous piece of the focused row. */
function movePiece(by) {
  const row = rowAt(timeline.focus);
  const { cores, gs } = app;
  const lane = row.kind === 'm' ? cores.ms[row.index] : row.kind === 'p' ? cores.ps[row.index] : row.kind === 'g' ? gs : null;
  if (!lane) return;
  const [first, last] = row.kind === 'g' ? [gs.first[row.index], gs.first[row.index + 1]] : [0, lane.size];
  const here = after(lane.ev, replay.at - 1, first, last) - 1;
  const at = by > 0 ? here + 1 : lane.ev[here] === replay.at - 1 ? here - 1 : here;
  if (at < first || at >= last) return;
  app.go(lane.ev[at], true);
  sayRow();
}

function chooseRow() {
  const row = rowAt(timeline.focus);
  if (row.kind === 'g') app.select(row.index);
  else if (row.kind === 'm' || row.kind === 'p') {
    const hit = pieceUnder(app.view.x(app.now()), row.y + 1);
    if (hit?.g) app.select(hit.g);
  }
}

function zoomToPiece() {
  const { gs, view } = app;
  if (!app.selected) return;
  const [first, last] = [gs.first[app.selected], gs.first[app.selected + 1]];
  const i = gPieceAt(gs, app.selected, app.now());
  if (first === last) return;
  if (i < 0 || gs.state[i] === GONE) {
    const whole = Math.max(gs.start[last - 1] - gs.start[first], 1);
    view.show(gs.start[first] - whole * 0.1, gs.start[last - 1] + whole * 0.1);
    app.changed();
    return;
  }
  const long = Math.max(gs.end[i] - gs.start[i], 1);
  view.show(gs.start[i] - long * 0.3, gs.end[i] + long * 0.3);
  app.changed();
}

function escape() {
  const filter = byId('filter');
  if (document.activeElement === filter) {
    if (filter.value) app.setFilter('');
    else byId('lanes').focus();
  } else if (quiz.open) {
    setQuiz(false);
  } else if (app.selected) {
    app.select(0);
  }
}

function toggleKeys() {
  const dialog = byId('keys');
  if (dialog.open) {
    dialog.close();
    return;
  }
  dialog.replaceChildren(
    el('h2', { id: 'keys-title' }, 'Keys'),
    el('div', { class: 'keys' }, KEYS.map(([title, keys]) => el('section', {}, el('h3', {}, title),
      el('dl', {}, keys.filter(([name]) => name).map(([name, text]) => el('div', {}, el('dt', {}, el('kbd', {}, name)), el('dd', {}, text))))))),
    el('p', { class: 'note' }, 'Mouse: the wheel zooms, a drag pans, a drag on the ruler zooms to a range, Shift and the wheel pan, the wheel over the names scrolls, a double click zooms to a piece.'),
    el('p', { class: 'note' }, 'Filter: words that names, functions and places contain; name: site: g: m: p: reason: look at one of these alone; a minus turns a word round.'),
    el('p', {}, el('button', { type: 'button', onclick: () => dialog.close() }, 'Close')),
  );
  dialog.showModal();
}
