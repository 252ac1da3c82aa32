// Two runs in step: one clock, one window, one goroutine, one filter.
//
//   a change in a pane ──host.changed──▶ follow ──▶ the other pane
//   a control ──▶ seek, stepBoth, … ──▶ both panes
//
// The events of both runs have one order: by position, and A's before B's. A step goes to the next
// decision in this order, and both panes then show all events up to it. So a step moves one pane,
// and the other waits for its turn.

const pair = {
  panes: [],
  /** The meaning of a position: `time` or `share`. */
  by: 'time',
  at: 0,
  views: [],
  shown: 'both',
  /** The colours of places that create goroutines. */
  hues: new Map(),
  /** The pane that the keys of the timelines go to. */
  active: null,
  /** The page itself changes the panes, so no pane leads. */
  busy: false,
  ready: false,
  opened: 0,
};

/** The longest speed of the picture while time passes: so many steps a second. */
const FRAMES = 12;

/** Returns the position of the end of both runs. */
function last() {
  return pair.by === 'time' ? Math.max(...pair.panes.map((pane) => pane.end)) : 1;
}

/** Changes panes without one of them following the other. */
function together(change) {
  pair.busy = true;
  try {
    change();
  } finally {
    pair.busy = false;
  }
}

/** Brings the other pane to the state of the one that has changed. */
function follow(lead) {
  if (!pair.ready || pair.busy) return;
  const other = pair.panes[1 - lead.number];
  pair.active = lead;
  together(() => {
    other.showAs(lead);
    if (other.app.query !== lead.app.query) takeFilter(lead.app.query, other);
    if (lead.chosen !== lead.app.selected) {
      lead.chosen = lead.app.selected;
      lead.root.getElementById('match').textContent = '';
      other.chooseAs(lead);
    }
    const { clock } = lead.app;
    if (clock === null || clock !== lead.seen) {
      // Without a clock an event is present, and of the events at its moment B's come behind A's.
      lead.seen = lead.app.clock = lead.app.now();
      pair.at = lead.position(lead.seen);
      other.go(pair.at, clock !== null || other.number < lead.number);
      markLead(clock === null ? lead : null);
    }
  });
  showClock();
}

/** Marks the pane that the last step was in; null: both went. */
function markLead(lead) {
  for (const pane of pair.panes) pane.root.querySelector('header').classList.toggle('leads', pane === lead);
}

/** Makes position `x` the present one in both panes, and brings it in sight. */
function seek(x, reveal = true) {
  const [a, b] = pair.panes;
  pair.at = clamp(x, 0, last());
  together(() => {
    pair.panes.forEach((pane) => pane.go(pair.at));
    if (reveal) a.app.view.reveal(a.moment(pair.at));
    b.showAs(a);
  });
  markLead(null);
  showClock();
}

/** Goes back before the first event. */
function toStart() {
  seek(0);
  together(() => pair.panes.forEach((pane) => pane.app.go(-1, false, 0)));
}

/** Returns the pane of the last event that has happened; null: none has. */
function present() {
  const happened = pair.panes.filter((pane) => pane.replay.at > 0);
  return happened.reduce((best, pane) => (best && best.at(best.replay.at - 1) > pane.at(pane.replay.at - 1) ? best : pane), null);
}

/** Makes one step: to the next or the previous decision in either run. Returns false at an end. */
function stepBoth(direction) {
  const now = present();
  const next = pair.panes.map((pane) => {
    // Backwards, the other pane's present event comes before that of `now`.
    const i = pane.page.nextStep(direction, pane.replay.at + (direction < 0 && pane !== now ? 1 : 0));
    return { pane, i, at: i < 0 ? NaN : pane.at(i) };
  }).filter(({ i }) => i >= 0);
  if (!next.length) {
    if (direction < 0) toStart();
    return false;
  }
  const [one, other] = next;
  const isOther = other && (direction > 0 ? other.at < one.at : other.at >= one.at);
  const { pane, i } = isOther ? other : one;
  pane.app.go(i, true);
  return true;
}

/** Lines the runs up by `time` or by `share`. A's window and moment stay. */
function lineUp(by) {
  const [a, b] = pair.panes;
  const now = clamp(a.app.now(), 0, a.end);
  const { from, to } = a.app.view;
  const isWhole = to - from >= a.app.view.end - a.app.view.begin;
  pair.by = by;
  for (const { app, end } of pair.panes) {
    app.view.begin = 0;
    app.view.end = by === 'time' ? last() : end;
  }
  if (isWhole) a.app.view.whole();
  else a.app.view.show(from, to);
  a.app.draw();
  b.showAs(a);
  seek(a.position(now), false);
}

/** Filters both runs, or one. */
function takeFilter(text, ...panes) {
  const input = byId('filter');
  if (input.value.trim() !== text.trim()) input.value = text;
  together(() => (panes.length ? panes : pair.panes).forEach((pane) => pane.app.setFilter(text)));
  const counts = pair.panes.map((pane) => pane.app.passing());
  byId('filtered').textContent = counts.every(Boolean) ? `A: ${counts[0]}, B: ${counts[1]}` : '';
}

/** Shows a view of both runs. */
function showBoth(name) {
  pair.shown = name;
  markTab(name);
  together(() => {
    for (const pane of pair.panes) {
      pane.root.getElementById('main').classList.toggle('both', name === 'both');
      pane.app.show(name);
    }
  });
  writeLater();
}
