// Memory: frames in use over time, and the stacks that grew, shrank, or were packed.

const memory = { has: false, frames: { size: 0 }, marks: [], kinds: [] };

/** Collects the events about memory. */
function readMemory(trace) {
  const { K, kind, time, a, b } = trace;
  const kinds = [K.grow, K.shrink, K.pack, K.unpack, K.epoch, K.pressure];
  const wanted = new Uint8Array(256);
  kinds.forEach((k) => { wanted[k] = 1; });
  wanted[K.frames] = 2;
  const at = [];
  const value = [];
  const marks = [];
  memory.total = 0;
  for (let i = 0; i < trace.total; i++) {
    const want = wanted[kind[i]];
    if (want === 1) marks.push(i);
    else if (want === 2) {
      at.push(time[i]);
      value.push(Math.max(b[i] - a[i], 0));
      memory.total = Math.max(memory.total, b[i]);
    }
  }
  memory.kinds = kinds;
  memory.marks = Uint32Array.from(marks);
  memory.markTimes = Float64Array.from(marks, (i) => time[i]);
  memory.frames = { size: at.length, at: Float64Array.from(at), value: Uint32Array.from(value) };
  finishLengths(memory.frames);
  memory.has = marks.length + at.length > 0;
}

/** Draws the lane: the area of frames in use, and ticks of stacks that changed. */
function drawMemory(ctx, view, y, height) {
  const { trace } = app;
  drawLength(ctx, memory.frames, view, y, height, Math.max(memory.frames.most, 1), ink.memory);
  const { marks, markTimes } = memory;
  let i = after(markTimes, view.from, 0, marks.length);
  while (i < marks.length && markTimes[i] < view.to) {
    const x = Math.floor(view.x(markTimes[i]));
    const row = memory.kinds.indexOf(trace.kind[marks[i]]);
    ctx.fillStyle = row === 0 ? ink.red : row === 5 ? ink.spin : ink.text;
    ctx.fillRect(x, y + Math.min(row, 4) * (height / 5), 1.5, height / 5 - 1);
    // One tick a pixel is enough.
    i = Math.max(after(markTimes, view.time(x + 1), i, marks.length), i + 1);
  }
}

/** Returns a text about the memory at the moment `t`. */
function memoryAt(t) {
  const { frames, marks, markTimes } = memory;
  const i = after(frames.at, t, 0, frames.size) - 1;
  const j = after(markTimes, t, 0, marks.length) - 1;
  const first = i >= 0 ? `${count(frames.value[i])} of ${count(memory.total)} frames in use (${bytes(frames.value[i] * 4096)})` : '';
  return [first, j >= 0 ? sentence(app.trace, marks[j]).text : ''].filter(Boolean).join(' · ');
}

/** Builds the view: sums by kind, and by goroutine. */
function showMemory() {
  const { trace } = app;
  const holder = part('view-memory');
  const sums = memory.kinds.map(() => 0);
  const byG = new Map();
  for (const i of memory.marks) {
    const row = memory.kinds.indexOf(trace.kind[i]);
    sums[row] += 1;
    if (row < 4 && app.matches(trace.a[i])) {
      const of = byG.get(trace.a[i]) ?? { g: trace.a[i], grow: 0, shrink: 0, pack: 0, unpack: 0, most: 0 };
      of[['grow', 'shrink', 'pack', 'unpack'][row]] += 1;
      if (row === 0) of.most = Math.max(of.most, trace.b[i]);
      byG.set(of.g, of);
    }
  }
  const names = ['stacks grown', 'shrunk', 'packed', 'unpacked', 'epochs of the scavenger', 'times the heap ran low'];
  fill(holder,
    el('h2', {}, 'Memory'),
    memory.has ? null : el('p', {}, 'The trace has no records about memory.'),
    el('dl', { class: 'sums' }, names.map((name, row) => el('div', {}, el('dt', {}, name), el('dd', {}, count(sums[row]))))),
    memory.frames.size ? chartOf(memory.frames) : null,
    el('h3', {}, 'By goroutine'),
    sortable('memory', [
      ['goroutine', (row) => trace.gs[row.g].id, (row) => gButton(row.g)],
      ['grown', (row) => row.grow],
      ['shrunk', (row) => row.shrink],
      ['packed', (row) => row.pack],
      ['unpacked', (row) => row.unpack],
      ['largest stack', (row) => row.most, (row) => (row.most ? bytes(row.most) : '–')],
    ], [...byG.values()], 1),
  );
}

/** Draws frames in use over the whole run. */
function chartOf(series) {
  const [width, height] = [720, 120];
  const { begin, end } = app.trace;
  const points = [];
  for (let x = 0; x < width; x++) {
    const from = begin + (x / width) * (end - begin);
    const value = mostWithin(series, from, from + (end - begin) / width);
    points.push(`${x},${(height - (value / Math.max(series.most, 1)) * (height - 8)).toFixed(1)}`);
  }
  return el('figure', {},
    shape('svg', { viewBox: `0 0 ${width} ${height}`, class: 'area', role: 'img', 'aria-label': 'Frames in use over time' },
      shape('polygon', { points: `0,${height} ${points.join(' ')} ${width},${height}` })),
    el('figcaption', {}, `Frames of 4 KiB in use, ${duration(end - begin)} from left to right; at most ${count(series.most)} (${bytes(series.most * 4096)}).`));
}
