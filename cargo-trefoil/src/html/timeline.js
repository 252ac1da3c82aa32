// The timelines: rows of M's, P's, the global queue, memory and G's on one canvas.
//
// The canvas is as large as the window on it, and the spacer below it as high as all rows. So the
// browser scrolls, and only the rows in sight are drawn.

const RULER = 26;
const GROUP = 24;
const CORE = 22;
const QUEUE = 16;
const ROW = 16;
const CHOSEN = 24;

const timeline = {
  rows: [],
  order: new Uint32Array(0),
  focus: 0,
  drawn: 0,
  frame: 0,
  slowest: 0,
};

/** Lays out the rows above the goroutines. */
function layRows() {
  const { trace } = app;
  const rows = [];
  let y = RULER;
  const chosen = app.selected;
  const add = (kind, index, name, height, more = {}) => {
    rows.push({ kind, index, name, y, height, ...more });
    y += height;
  };
  if (chosen) {
    add('group', 4, 'The chosen goroutine', GROUP);
    add('g', chosen, gName(trace, chosen), CHOSEN + spansHeight(chosen), { isChosen: true });
  }
  add('group', 0, 'Machines: the goroutine on each core', GROUP);
  for (let m = 0; m < trace.ms; m++) add('m', m, `M${m}`, CORE);
  add('group', 1, 'Processors: the goroutine, and below it the queue', GROUP);
  for (let p = 0; p < trace.ps; p++) add('p', p, `P${p}`, CORE + QUEUE);
  add('global', 0, 'global', CORE);
  if (memory.has) {
    add('group', 2, 'Memory: frames in use, and stacks that change', GROUP);
    add('memory', 0, 'memory', 40);
  }
  add('group', 3, 'Goroutines', GROUP);
  timeline.rows = rows;
  timeline.top = y;
  orderGoroutines();
}

/** Chooses the goroutines that have a row: those that the filter lets through. */
function orderGoroutines() {
  const all = [];
  for (let g = 1; g < app.trace.gs.length; g++) {
    if (app.gs.first[g + 1] > app.gs.first[g] && app.matches(g)) all.push(g);
  }
  timeline.order = Uint32Array.from(all);
  const group = timeline.rows.find((row) => row.kind === 'group' && row.index === 3);
  if (group) group.name = `Goroutines: ${many(all.length, 'row')}${app.query ? ', filtered' : ''}`;
  part('spacer').style.height = `${Math.max(timeline.top + all.length * ROW + 8, 1)}px`;
}

/** Returns the number of rows. */
function rowCount() {
  return timeline.rows.length + timeline.order.length;
}

/** Returns row number `i`, its place included. */
function rowAt(i) {
  if (i < timeline.rows.length) return timeline.rows[i];
  const at = i - timeline.rows.length;
  const g = timeline.order[at];
  return { kind: 'g', index: g, name: gName(app.trace, g), y: timeline.top + at * ROW, height: ROW };
}

/** Returns the number of the row at the height `y` of the whole page of rows, or -1. */
function rowAtHeight(y) {
  if (y >= timeline.top) {
    const at = Math.floor((y - timeline.top) / ROW);
    return at < timeline.order.length ? timeline.rows.length + at : -1;
  }
  return timeline.rows.findIndex((row) => y >= row.y && y < row.y + row.height);
}

/** Draws all rows in sight. */
function drawTimeline() {
  const box = part('lanes');
  const canvas = part('chart');
  const [width, height] = [box.clientWidth, box.clientHeight];
  if (!width || !height) return;
  const began = performance.now();
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const ctx = canvas.getContext('2d', { alpha: false });
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.fillStyle = ink.panel;
  ctx.fillRect(0, 0, width, height);
  ctx.font = '11px ui-sans-serif, system-ui, sans-serif';
  const { view } = app;
  view.left = host.isWide() ? 132 : 64;
  view.width = width - view.left;
  const top = box.scrollTop;
  ctx.save();
  ctx.beginPath();
  ctx.rect(0, RULER, width, height - RULER);
  ctx.clip();
  drawGrid(ctx, height);
  const from = Math.max(rowAtHeight(Math.max(top + RULER, RULER)), 0);
  for (let i = from; i < rowCount(); i++) {
    const row = rowAt(i);
    if (row.y - top > height) break;
    drawRow(ctx, row, row.y - top, width, i === timeline.focus);
  }
  drawEnd(ctx, width, height);
  drawCursor(ctx, height);
  ctx.restore();
  drawRuler(ctx, width);
  timeline.drawn += 1;
  timeline.slowest = Math.max(timeline.slowest, performance.now() - began);
  timeline.last = performance.now() - began;
}

function drawRow(ctx, row, y, width, focused) {
  const { view, cores, queues } = app;
  if (row.kind === 'group') {
    ctx.fillStyle = ink.faint;
    ctx.fillRect(0, y, width, row.height);
    ctx.fillStyle = ink.muted;
    ctx.textBaseline = 'middle';
    ctx.fillText(row.name, 10, y + row.height / 2 + 1);
    return;
  }
  ctx.save();
  ctx.beginPath();
  ctx.rect(view.left, y, view.width, row.height);
  ctx.clip();
  if (row.kind === 'm') {
    drawIdle(ctx, cores.idle[row.index], view, y + 3, CORE - 6);
    drawRuns(ctx, cores.ms[row.index], view, y + 3, CORE - 6);
  } else if (row.kind === 'p') {
    drawRuns(ctx, cores.ps[row.index], view, y + 3, CORE - 6);
    const ring = queues.lengths[queues.numbers.ring(row.index)];
    drawLength(ctx, ring, view, y + CORE - 1, QUEUE - 2, timeline.mostRing, ink.queued);
  } else if (row.kind === 'global') {
    const series = queues.lengths[queues.numbers.global];
    drawLength(ctx, series, view, y + 2, CORE - 4, Math.max(series.most, 1), ink.queued);
  } else if (row.kind === 'memory') {
    drawMemory(ctx, view, y + 2, row.height - 4);
  } else {
    if (row.index === app.selected && !row.isChosen) {
      ctx.fillStyle = ink.faint;
      ctx.fillRect(0, y, width, row.height);
    }
    drawGoroutine(ctx, app.gs, row.index, view, y + 2, (row.isChosen ? CHOSEN : row.height) - 4);
    if (row.isChosen) {
      drawSpans(ctx, row.index, view, y + CHOSEN);
      drawNotes(ctx, row.index, view, y);
    }
  }
  ctx.restore();
  const isSelected = row.kind === 'g' && row.index === app.selected;
  ctx.fillStyle = isSelected ? ink.red : ink.text;
  ctx.textBaseline = 'middle';
  const room = Math.floor((view.left - 16) / 6.4);
  const name = row.kind === 'g' ? goroutineLabel(row.index) : row.name;
  ctx.fillText(name.length > room ? `${name.slice(0, room - 1)}…` : name, 10, y + (row.kind === 'p' ? CORE : row.isChosen ? CHOSEN : row.height) / 2 + 1);
  if (focused && root.activeElement === part('lanes')) {
    ctx.strokeStyle = ink.focus;
    ctx.lineWidth = 1.5;
    ctx.strokeRect(1, y + 0.75, width - 2, row.height - 1.5);
  }
}

/** Draws a mark at each of the goroutine's own log lines. */
function drawNotes(ctx, g, view, y) {
  const { notes, trace } = app;
  ctx.fillStyle = ink.focus;
  for (let at = 0; at < notes.ev.length; at++) {
    if (notes.g[at] !== g || trace.kind[notes.ev[at]] !== trace.K.log) continue;
    const x = view.x(trace.time[notes.ev[at]]);
    if (x < view.left || x > view.left + view.width) continue;
    ctx.beginPath();
    ctx.moveTo(x - 3, y);
    ctx.lineTo(x + 3, y);
    ctx.lineTo(x, y + 5);
    ctx.fill();
  }
}

/** Returns the label of a goroutine's row: its number, and its name or function. */
function goroutineLabel(g) {
  const { trace } = app;
  const { name, id } = trace.gs[g];
  return `G${id} ${name || gFunction(trace, g).split('::').slice(-2).join('::')}`;
}

function drawGrid(ctx, height) {
  ctx.fillStyle = ink.faint;
  for (const t of app.view.marks().marks) ctx.fillRect(Math.round(app.view.x(t)), RULER, 1, height);
}

/** Shades the time behind the run's end. */
function drawEnd(ctx, width, height) {
  const { view, trace } = app;
  const x = Math.max(view.x(trace.end), view.left);
  if (x >= width) return;
  ctx.fillStyle = ink.line;
  ctx.globalAlpha = 0.4;
  ctx.fillRect(x, RULER, width - x, height);
  ctx.globalAlpha = 1;
}

function drawRuler(ctx, width) {
  const { view } = app;
  ctx.fillStyle = ink.panel;
  ctx.fillRect(0, 0, width, RULER);
  ctx.fillStyle = ink.line;
  ctx.fillRect(0, RULER - 1, width, 1);
  ctx.textBaseline = 'middle';
  const { marks, text, base } = view.marks();
  for (const t of marks) {
    const x = Math.round(view.x(t));
    if (x < view.left) continue;
    ctx.fillStyle = ink.line;
    ctx.fillRect(x, RULER - 6, 1, 5);
    ctx.fillStyle = ink.muted;
    ctx.fillText(text(t), x + 4, RULER / 2);
  }
  ctx.fillStyle = ink.panel;
  ctx.fillRect(0, 0, view.left, RULER - 1);
  ctx.fillStyle = ink.muted;
  ctx.fillText(base ? `${duration(base)} +` : duration(view.span), 10, RULER / 2);
  const x = view.x(app.now());
  if (x >= view.left && x <= width) {
    ctx.fillStyle = ink.focus;
    ctx.beginPath();
    ctx.moveTo(x - 5, RULER - 9);
    ctx.lineTo(x + 5, RULER - 9);
    ctx.lineTo(x, RULER - 1);
    ctx.fill();
  }
}

function drawCursor(ctx, height) {
  const { view } = app;
  const x = view.x(app.now());
  if (x < view.left || x > view.left + view.width) return;
  ctx.fillStyle = ink.focus;
  ctx.globalAlpha = 0.7;
  ctx.fillRect(Math.round(x) - 0.5, RULER, 1, height);
  ctx.globalAlpha = 1;
}

/** Draws in small all that the window can show, with the window on it. */
function drawOverview() {
  const canvas = part('overview');
  const width = canvas.clientWidth;
  if (!width) return;
  const ratio = window.devicePixelRatio || 1;
  const height = 44;
  const { cores, trace, view } = app;
  const { begin, end } = view;
  const key = `${width} ${ratio} ${ink.paper} ${begin} ${end}`;
  if (timeline.overviewKey !== key) {
    timeline.overviewKey = key;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const picture = new OffscreenCanvas(canvas.width, canvas.height);
    const ctx = picture.getContext('2d');
    ctx.scale(ratio, ratio);
    ctx.fillStyle = ink.busy;
    for (let x = 0; x < width; x++) {
      const from = begin + (x / width) * (end - begin);
      const to = begin + ((x + 1) / width) * (end - begin);
      let busy = 0;
      for (const lane of cores.ms) busy += busyTime(lane, from, to);
      const tall = (busy / (to - from) / Math.max(trace.ms, 1)) * (height - 6);
      ctx.fillRect(x, height - tall, 1, tall);
    }
    timeline.overview = picture;
  }
  const ctx = canvas.getContext('2d');
  ctx.setTransform(1, 0, 0, 1, 0, 0);
  ctx.clearRect(0, 0, canvas.width, canvas.height);
  ctx.drawImage(timeline.overview, 0, 0);
  ctx.scale(ratio, ratio);
  const whole = end - begin;
  const x0 = clamp(((view.from - begin) / whole) * width, 0, width);
  const x1 = clamp(((view.to - begin) / whole) * width, x0 + 2, width);
  ctx.fillStyle = ink.paper;
  ctx.globalAlpha = 0.62;
  ctx.fillRect(0, 0, x0, height);
  ctx.fillRect(x1, 0, width - x1, height);
  ctx.globalAlpha = 1;
  ctx.strokeStyle = ink.muted;
  ctx.strokeRect(x0 + 0.5, 0.5, Math.max(x1 - x0 - 1, 1), height - 1);
  ctx.fillStyle = ink.focus;
  ctx.fillRect(((app.now() - begin) / whole) * width, 0, 1.5, height);
}
