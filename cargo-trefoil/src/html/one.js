// The page of one trace: its frame, its keys, and its address.

const root = document;

const host = {
  changed() {
    clearTimeout(this.writer);
    this.writer = setTimeout(writeLink, 250);
  },

  stepped() {
    if (quiz.open && quiz.event !== replay.at - 1) quiz.open = false;
    showPosition();
  },

  filtered(text) {
    const input = byId('filter');
    if (input.value !== text) input.value = text;
    byId('filtered').textContent = app.passing();
  },

  say: speak,

  isWide: () => part('lanes').clientWidth >= 600,
};

const KEYS = [
  ['Timeline', TIMELINE_KEYS],
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
    ['G', 'between timeline and replay', ['g', 'G'], () => showView(app.shown === 'replay' ? 'timeline' : 'replay')],
    ['/', 'filter', ['/'], () => byId('filter').focus()],
    ['Esc', 'close, clear, leave the filter', ['Escape'], () => escape()],
    ['T', 'light or dark', ['t', 'T'], () => toggleTheme()],
    ['?', 'these keys', null, null],
  ]],
];

/** Takes a digit: an answer of the quiz, or the number of a view. */
function digit(number, isView) {
  if (quiz.open && quiz.options[number - 1]) answer(quiz.options[number - 1]);
  else if (isView && VIEWS[number - 1]) showView(VIEWS[number - 1][0]);
  else return false;
  return true;
}

function escape() {
  const filter = byId('filter');
  if (document.activeElement === filter) {
    if (filter.value) app.setFilter('');
    else part('lanes').focus();
  } else if (quiz.open) {
    setQuiz(false);
  } else if (app.selected) {
    app.select(0);
  }
}

/** Shows a view, and the toolbar if the view has steps. */
function showView(name) {
  part('steps').hidden = name !== 'timeline' && name !== 'replay';
  markTab(name);
  app.show(name);
}

/** Writes the present view into the address: `#t=from-to&e=event&g=number&v=view&q=filter`. */
function writeLink() {
  const { view, trace } = app;
  const parts = [`t=${Math.round(view.from)}-${Math.round(view.to)}`];
  if (replay.at) parts.push(`e=${replay.at}`);
  if (app.selected) parts.push(`g=${trace.gs[app.selected].id}`);
  if (app.shown !== 'timeline') parts.push(`v=${app.shown}`);
  if (app.query) parts.push(`q=${encodeURIComponent(app.query)}`);
  app.written = `#${parts.join('&')}`;
  if (location.hash !== app.written) history.replaceState(null, '', app.written);
}

/** Follows an address. */
function readLink() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const { trace, view } = app;
  const [from, to] = (parts.get('t') ?? '').split(/(?<=\d)-/).map(Number);
  if (parts.has('t') && Number.isFinite(from)) {
    if (Number.isFinite(to)) view.show(from, to);
    else view.show(from - (trace.end - trace.begin) / 200, from + (trace.end - trace.begin) / 200);
    if (!parts.has('e')) replay.at = after(trace.time, Number.isFinite(to) ? (from + to) / 2 : from, 0, trace.total);
  }
  if (parts.has('e')) replay.at = clamp(Number(parts.get('e')) || 0, 0, trace.total);
  app.setFilter(parts.get('q') ?? '');
  const g = trace.gs.findIndex((row) => String(row.id) === parts.get('g'));
  app.select(g > 0 ? g : 0);
  const wanted = parts.get('v');
  showView(VIEWS.some(([name]) => name === wanted) ? wanted : 'timeline');
  showStep();
}

/** Reads the trace, and opens the page. */
async function open() {
  app.take(await readData(byId('data')));
  app.build();
  buildTabs(VIEWS, (name) => `view-${name}`, showView);
  buildSteps();
  listenToFilter((text) => app.setFilter(text));
  listenToKeys(KEYS, NOTES, digit);
  readLink();
  drawTimeline();
  drawOverview();
  byId('loading').remove();
  window.addEventListener('hashchange', () => { if (location.hash !== app.written) readLink(); });
  app.opened = performance.now();
}

open().catch((error) => {
  byId('loading').replaceChildren(el('p', {}, `The trace can’t be shown: ${error.message}`));
  throw error;
});
