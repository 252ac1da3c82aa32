// The views of one trace: they are computed once, and kept in step.
//
// These scripts do not know the page around them. It gives them two names:
//
//   root   the document, or the part of it that holds the views of this trace
//   host   changed()      after each change: of the window, the moment, the goroutine, the filter
//          stepped()      after each step, when the moment's event is known
//          filtered()     after each change of the filter
//          say(text)      for a screen reader
//          isWide()       beside the lanes is room for long names

const VIEWS = [['timeline', 'Timeline'], ['replay', 'Replay'], ['sites', 'Spawn sites'], ['list', 'Goroutines'], ['memory', 'Memory']];

/** Returns the element of these views with this id. */
function part(id) {
  return root.getElementById(id);
}

const app = {
  trace: null,
  selected: 0,
  query: '',
  passes: null,
  shown: 'timeline',
  ready: false,
  /** The present moment, if it is not that of the last event that has happened. */
  clock: null,

  /** Returns true if the filter lets goroutine `g` through. */
  matches(g) {
    return !this.passes || this.passes[g] === 1;
  },

  /** Returns the present moment: by itself, that of the last event that has happened. */
  now() {
    return this.clock ?? (replay.at ? this.trace.time[replay.at - 1] : this.trace.begin);
  },

  /** Makes event `i` the last that has happened, at the moment `clock`; -1: none has. */
  go(i, reveal = false, clock = null) {
    replay.at = clamp(i + 1, 0, this.trace.total);
    this.clock = clock;
    if (reveal) this.view.reveal(this.now());
    showStep();
    followDetail();
    this.changed();
  },

  /** Makes the moment `t` the present one, or that of the last event before it. */
  goTime(t) {
    this.go(after(this.trace.time, t, 0, this.trace.total) - 1, false, this.clock === null ? null : t);
  },

  /** Chooses goroutine `g`; 0: none. */
  select(g) {
    this.selected = g;
    layRows();
    part('main').classList.toggle('has-detail', g !== 0);
    showDetail();
    if (g) host.say(`${gName(this.trace, g)} is chosen.`);
    if (this.isShown('replay')) drawScene(replay.at);
    this.changed();
  },

  setFilter(text) {
    this.query = text.trim();
    this.passes = compileFilter(this.trace, text);
    timeline.focus = Math.min(timeline.focus, timeline.rows.length - 1);
    orderGoroutines();
    host.filtered(text);
    this.fillView();
    this.changed();
  },

  /** Says how many goroutines the filter lets through; empty: there is no filter. */
  passing() {
    if (!this.passes) return '';
    let passing = 0;
    for (let g = 1; g < this.passes.length; g++) passing += this.passes[g];
    return `${count(passing)} of ${many(this.trace.gs.length - 1, 'G', 'G’s')}`;
  },

  /** Returns true if this view is in sight. `both` are the timeline and the replay. */
  isShown(view) {
    return this.shown === view || this.shown === 'both' && (view === 'timeline' || view === 'replay');
  },

  /** Shows a view. */
  show(name) {
    this.shown = name;
    for (const [view] of VIEWS) part(`view-${view}`).hidden = !this.isShown(view);
    byId('tip').hidden = true;
    this.fillView();
    this.changed();
  },

  fillView() {
    if (this.shown === 'sites') showSites();
    if (this.shown === 'list') showList();
    if (this.shown === 'memory') showMemory();
    if (this.isShown('replay')) showStep();
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

  /** Tells the page of a change, and draws at the next frame. */
  changed() {
    if (!this.ready) return;
    host.changed();
    this.draw();
  },

  draw() {
    if (timeline.frame) return;
    timeline.frame = requestAnimationFrame(() => {
      timeline.frame = 0;
      if (!this.isShown('timeline')) return;
      drawTimeline();
      drawOverview();
    });
  },

  /** Takes a trace, and computes what does not depend on the view. */
  take(trace) {
    this.trace = trace;
    const { K } = trace;
    this.minor = MINOR.reduce((all, name) => { all[K[name]] = 1; return all; }, new Uint8Array(256));
    this.hasG = trace.withG.reduce((all, kind) => { all[kind] = 1; return all; }, new Uint8Array(256));
    this.cores = coreLanes(trace);
    this.notes = readNotes(trace, this.cores);
    this.spans = readSpans(trace, this.notes);
    this.gs = goroutineLanes(trace);
    this.queues = new Queues(trace);
    timeline.mostRing = Math.max(1, ...this.cores.ps.map((_, p) => this.queues.lengths[this.queues.numbers.ring(p)].most));
    readMemory(trace);
    this.view = new View(trace);
    this.view.active(Math.min(...this.cores.ms.map((lane) => lane.start[0] ?? trace.end)));
  },

  /** Builds the views, and shows them. */
  build() {
    readColours();
    buildViews();
    showDetail();
    layRows();
    listenToMouse();
    listenToTheme(() => { readColours(); this.changed(); });
    new ResizeObserver(() => { this.draw(); if (this.isShown('replay')) drawScene(replay.at); }).observe(part('views'));
    this.ready = true;
  },
};

/** Fills the lines and buttons around the views. */
function buildViews() {
  const { trace, queues } = app;
  part('facts').textContent = [
    many(trace.ms, 'M', 'M’s'), many(trace.ps, 'P', 'P’s'), many(trace.gs.length - 1, 'G', 'G’s'), many(trace.total, 'event'),
    duration(trace.end), trace.facts].filter(Boolean).join(' · ');
  const warnings = trace.dropped.slice();
  const { wrong, snapshots } = queues;
  if (wrong.length) warnings.push(`${many(wrong.length, 'snapshot')} of ${count(snapshots.length)} of the kernel’s differ from the replayed queues: the replay goes on from the kernel’s.`);
  part('dropped').hidden = !warnings.length;
  part('dropped').textContent = warnings.join(' ');
  part('legend').replaceChildren(...[['state-2', 'runs'], ['state-1', 'waits for a core'], ['state-3', 'waits for something else'], ['busy', 'many short runs: the height is the busy share']]
    .flatMap(([name, text]) => [el('i', { class: `state ${name}` }), `${text}  `]),
  wrong.length ? '' : `${many(snapshots.length, 'snapshot')} of the kernel’s agree with the replay.`);
  part('timebar').replaceChildren(
    el('button', { type: 'button', title: 'Zoom in (W)', onclick: () => app.zoom(0.5) }, 'Zoom in'),
    el('button', { type: 'button', title: 'Zoom out (S)', onclick: () => app.zoom(2) }, 'Zoom out'),
    el('button', { type: 'button', title: 'The whole run (0)', onclick: () => { app.view.whole(); app.changed(); } }, 'Whole run'),
  );
}
