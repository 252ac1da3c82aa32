// The keys of the timelines, and the row that they are about.

/** The keys of the timelines. */
const TIMELINE_KEYS = [
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
];

function moveFocus(by) {
  if (!app.isShown('timeline')) return;
  let next = timeline.focus;
  do next += by; while (next >= 0 && next < rowCount() && rowAt(next).kind === 'group');
  if (next < 0 || next >= rowCount()) return;
  timeline.focus = next;
  const box = part('lanes');
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
  host.say(`${row.kind === 'g' ? goroutineLabel(row.index) : row.name}: ${hit?.text || 'nothing'} at ${moment(app.now())}`);
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
