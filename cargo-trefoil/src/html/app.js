// The page: it reads the trace, computes everything once, and keeps the views in step.

const VIEWS = [['timeline', 'Timeline'], ['replay', 'Replay'], ['sites', 'Spawn sites'], ['list', 'Goroutines'], ['memory', 'Memory']];

const app = {
  trace: null,
  selected: 0,
  query: '',
  passes: null,
  shown: 'timeline',
  ready: false,

  /** Returns true if the filter lets goroutine `g` through. */
  matches(g) {
    return !this.passes || this.passes[g] === 1;
  },

  /** Returns the present moment: that of the last event that has happened. */
  now() {
    return replay.at ? this.trace.time[replay.at - 1] : this.trace.begin;
  },

  /** Makes event `i` the last that has happened; -1: none has. */
  go(i, reveal = false) {
    replay.at = clamp(i + 1, 0, this.trace.total);
    if (quiz.open && quiz.event !== i) quiz.open = false;
    if (reveal) this.view.reveal(this.now());
    showStep();
    followDetail();
    this.changed();
  },

  /** Makes the moment `t` the present one. */
  goTime(t) {
    this.go(after(this.trace.time, t, 0, this.trace.total) - 1);
  },

  /** Chooses goroutine `g`; 0: none. */
  select(g) {
    this.selected = g;
    layRows();
    document.body.classList.toggle('has-detail', g !== 0);
    showDetail();
    if (g) speak(`${gName(this.trace, g)} is chosen.`);
    if (!byId('view-replay').hidden) drawScene(replay.at);
    this.changed();
  },

  setFilter(text) {
    const input = byId('filter');
    if (input.value !== text) input.value = text;
    this.query = text.trim();
    this.passes = compileFilter(this.trace, text);
    let passing = 0;
    for (let g = 1; this.passes && g < this.passes.length; g++) passing += this.passes[g];
    byId('filtered').textContent = this.passes ? `${count(passing)} of ${many(this.trace.gs.length - 1, 'G', 'G’s')}` : '';
    timeline.focus = Math.min(timeline.focus, timeline.rows.length - 1);
    orderGoroutines();
    this.fillView();
    this.changed();
  },

  /** Shows a view. */
  show(name) {
    this.shown = name;
    for (const [view] of VIEWS) {
      byId(`view-${view}`).hidden = view !== name;
      const tab = byId(`tab-${view}`);
      tab.setAttribute('aria-selected', view === name);
      tab.tabIndex = view === name ? 0 : -1;
    }
    byId('tip').hidden = true;
    byId('steps').hidden = name !== 'timeline' && name !== 'replay';
    this.fillView();
    this.changed();
  },

  fillView() {
    if (this.shown === 'sites') showSites();
    if (this.shown === 'list') showList();
    if (this.shown === 'memory') showMemory();
    if (this.shown === 'replay') showStep();
  },

  pan(share) {
    this.view.pan(share);
    this.changed();
  },

  zoom(factor) {
    const now = this.now();
    const inSight = now >= this.view.from && now <= this.view.to;
    this.view.zoom(factor, inSight ? now : undefined);
    this.changed();
  },

  /** Draws at the next frame, and writes the address a little later. */
  changed() {
    if (!this.ready) return;
    if (!timeline.frame) {
      timeline.frame = requestAnimationFrame(() => {
        timeline.frame = 0;
        if (this.shown === 'timeline') {
          drawTimeline();
          drawOverview();
        }
      });
    }
    clearTimeout(this.writer);
    this.writer = setTimeout(writeLink, 250);
  },
};

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
  app.show(VIEWS.some(([name]) => name === wanted) ? wanted : 'timeline');
  showStep();
}

function toggleTheme() {
  const root = document.documentElement;
  const isSystemDark = matchMedia('(prefers-color-scheme: dark)').matches;
  const isDark = root.dataset.theme ? root.dataset.theme === 'dark' : isSystemDark;
  // Back at the system's theme the page follows the system again.
  if (isDark === isSystemDark) root.dataset.theme = isDark ? 'light' : 'dark';
  else delete root.dataset.theme;
  readColours();
  app.changed();
}

/** Builds what does not depend on the view. */
function buildPage() {
  const { trace } = app;
  byId('facts').textContent = [
    many(trace.ms, 'M', 'M’s'), many(trace.ps, 'P', 'P’s'), many(trace.gs.length - 1, 'G', 'G’s'), many(trace.total, 'event'),
    duration(trace.end - trace.begin), trace.facts].filter(Boolean).join(' · ');
  byId('tabs').replaceChildren(...VIEWS.map(([name, title], at) => el('button', {
    type: 'button', role: 'tab', id: `tab-${name}`, 'aria-controls': `view-${name}`, onclick: () => app.show(name), onkeydown: (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      const next = VIEWS[(at + by + VIEWS.length) % VIEWS.length][0];
      app.show(next);
      byId(`tab-${next}`).focus();
    },
  }, title)));
  const warnings = trace.dropped.slice();
  const { wrong, snapshots } = app.queues;
  if (wrong.length) warnings.push(`${many(wrong.length, 'snapshot')} of ${count(snapshots.length)} of the kernel’s differ from the replayed queues: the replay goes on from the kernel’s.`);
  if (warnings.length) {
    byId('dropped').hidden = false;
    byId('dropped').textContent = warnings.join(' ');
  }
  byId('legend').replaceChildren(...[['state-2', 'runs'], ['state-1', 'waits for a core'], ['state-3', 'waits for something else'], ['busy', 'many short runs: the height is the busy share']]
    .flatMap(([name, text]) => [el('i', { class: `state ${name}` }), `${text}  `]),
  wrong.length ? '' : `${many(snapshots.length, 'snapshot')} of the kernel’s agree with the replay.`);
  byId('timebar').replaceChildren(
    el('button', { type: 'button', title: 'Zoom in (W)', onclick: () => app.zoom(0.5) }, 'Zoom in'),
    el('button', { type: 'button', title: 'Zoom out (S)', onclick: () => app.zoom(2) }, 'Zoom out'),
    el('button', { type: 'button', title: 'The whole run (0)', onclick: () => { app.view.whole(); app.changed(); } }, 'Whole run'),
  );
  byId('help').addEventListener('click', toggleKeys);
  byId('theme').addEventListener('click', toggleTheme);
  let wait = 0;
  byId('filter').addEventListener('input', (event) => {
    clearTimeout(wait);
    wait = setTimeout(() => app.setFilter(event.target.value), 120);
  });
  buildSteps();
  showDetail();
}

/** Reads the trace, and opens the page. */
async function open() {
  const trace = await readData();
  app.trace = trace;
  const { K } = trace;
  app.minor = MINOR.reduce((all, name) => { all[K[name]] = 1; return all; }, new Uint8Array(256));
  app.hasG = trace.withG.reduce((all, kind) => { all[kind] = 1; return all; }, new Uint8Array(256));
  app.cores = coreLanes(trace);
  app.notes = readNotes(trace, app.cores);
  app.gs = goroutineLanes(trace);
  app.queues = new Queues(trace);
  timeline.mostRing = Math.max(1, ...app.cores.ps.map((_, p) => app.queues.lengths[app.queues.numbers.ring(p)].most));
  readMemory(trace);
  app.view = new View(trace);
  app.view.active(Math.min(...app.cores.ms.map((lane) => lane.start[0] ?? trace.end)));
  readColours();
  buildPage();
  layRows();
  listenToMouse();
  listenToKeys();
  app.ready = true;
  readLink();
  drawTimeline();
  drawOverview();
  byId('loading').remove();
  window.addEventListener('hashchange', () => { if (location.hash !== app.written) readLink(); });
  new ResizeObserver(() => { app.changed(); if (app.shown === 'replay') drawScene(replay.at); }).observe(byId('views'));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { readColours(); app.changed(); });
  app.opened = performance.now();
}

open().catch((error) => {
  byId('loading').replaceChildren(el('p', {}, `The trace can’t be shown: ${error.message}`));
  throw error;
});
