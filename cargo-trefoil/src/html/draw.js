// Lanes on a canvas. A piece at least a pixel wide is a box. Shorter pieces share a pixel: there the
// height of the bar is the share of time that they take up.

/** The colours of the page, read from its style sheet. */
let ink = {};

/** The hues of spawn sites: twelve that keep apart in both themes. */
const HUES = [212, 28, 152, 266, 48, 186, 328, 92, 238, 12, 128, 296];

/** Reads the colours again, after the theme has changed. */
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const get = (name) => style.getPropertyValue(`--${name}`).trim();
  ink = {};
  for (const name of ['paper', 'panel', 'text', 'muted', 'line', 'faint', 'red', 'queued', 'wait', 'busy', 'spin', 'focus', 'memory', 'm', 'p']) ink[name] = get(name);
  const [saturation, light] = [get('site-saturation'), get('site-light')];
  ink.site = HUES.map((hue) => `hsl(${hue} ${saturation} ${light})`);
}

/** Returns the colour of the spawn site of `g`. */
function siteColour(g) {
  return ink.site[app.trace.gs[g].hue % HUES.length];
}

/** Returns the part of `sums` that the pieces `i` to `next - 1` have within `[from, to]`. */
function within(lane, sums, i, next, from, to) {
  let sum = sums[next] - sums[i];
  if (lane.start[i] < from && sums[i + 1] > sums[i]) sum -= from - lane.start[i];
  if (lane.end[next - 1] > to && sums[next] > sums[next - 1]) sum -= lane.end[next - 1] - to;
  return Math.max(sum, 0);
}

/** Draws a lane of an M or a P: boxes of goroutines. Returns the number of boxes and bars. */
function drawRuns(ctx, lane, view, y, height) {
  const { start, end, g, size } = lane;
  const right = view.left + view.width;
  let i = Math.max(after(start, view.from, 0, size) - 1, 0);
  let drawn = 0;
  while (i < size && start[i] < view.to) {
    const x0 = Math.max(view.x(start[i]), view.left);
    const x1 = Math.min(view.x(end[i]), right);
    if (x1 <= view.left) {
      i += 1;
      continue;
    }
    drawn += 1;
    if (x1 - x0 >= 1.5) {
      const shown = app.matches(g[i]);
      ctx.globalAlpha = shown ? 1 : 0.18;
      ctx.fillStyle = g[i] === app.selected ? ink.red : siteColour(g[i]);
      ctx.fillRect(x0, y, Math.max(x1 - x0 - (x1 - x0 > 4 ? 1 : 0), 1), height);
      if (x1 - x0 > 34 && shown) label(ctx, gName(app.trace, g[i]), x0, x1, y, height, true);
      i += 1;
      continue;
    }
    const pixel = Math.floor(x0);
    const from = view.time(pixel);
    const to = view.time(pixel + 1);
    const next = Math.max(soonAfter(start, to, i, size), i + 1);
    const share = Math.min(within(lane, lane.busy, i, next, from, to) / (to - from), 1);
    ctx.globalAlpha = app.query ? 0.35 : 1;
    ctx.fillStyle = ink.busy;
    const tall = Math.max(share * height, 1);
    ctx.fillRect(pixel, y + height - tall, 1, tall);
    // A long piece that begins in this pixel is a box of its own.
    i = next - 1 > i && view.x(end[next - 1]) - view.x(start[next - 1]) >= 1.5 ? next - 1 : next;
  }
  ctx.globalAlpha = 1;
  return drawn;
}

/** Draws the lane of an M that runs no goroutine: it searches, spins or rests. */
function drawIdle(ctx, lane, view, y, height) {
  const { start, end, g, size } = lane;
  let i = Math.max(after(start, view.from, 0, size) - 1, 0);
  while (i < size && start[i] < view.to) {
    const x0 = Math.max(view.x(start[i]), view.left);
    const x1 = view.x(end[i]);
    if (x1 - x0 < 1) {
      i = Math.max(soonAfter(start, view.time(Math.floor(x0) + 1), i, size), i + 1);
      continue;
    }
    ctx.fillStyle = g[i] === 3 ? ink.line : ink.spin;
    const tall = g[i] === 3 ? 1 : g[i] === 2 ? 4 : 2;
    ctx.fillRect(x0, y + height / 2 - tall / 2, Math.max(Math.min(x1, view.left + view.width) - x0, 1), tall);
    if (x1 - x0 > 70) label(ctx, ['', 'searches', 'spins', 'rests'][g[i]], x0, x1, y - 1, height, false);
    i += 1;
  }
}

/** Draws the lane of a goroutine: red where it runs, grey where it waits for a core. */
function drawGoroutine(ctx, lane, g, view, y, height) {
  const { start, end, state, first } = lane;
  const last = first[g + 1];
  const right = view.left + view.width;
  if (last === first[g]) return;
  // The line of its whole life; pieces and bars lie on it.
  const born = Math.max(view.x(start[first[g]]), view.left);
  const gone = Math.min(view.x(state[last - 1] === GONE ? start[last - 1] : end[last - 1]), right);
  ctx.fillStyle = ink.wait;
  if (gone > born) ctx.fillRect(born, y + height / 2 - 1, gone - born, 2);
  let i = Math.max(after(start, view.from, first[g], last) - 1, first[g]);
  while (i < last && start[i] < view.to) {
    const x0 = Math.max(view.x(start[i]), view.left);
    const x1 = Math.min(view.x(end[i]), right);
    if (x1 <= view.left || state[i] === GONE) {
      i += 1;
      continue;
    }
    if (x1 - x0 >= 1.5) {
      if (state[i] === WAITING) {
        if (x1 - x0 > 80) label(ctx, why(app.trace, app.trace.how[lane.ev[i]]), x0, x1, y, height, false, ink.panel);
      } else {
        ctx.fillStyle = state[i] === RUNNING ? ink.red : ink.queued;
        ctx.fillRect(x0, y, Math.max(x1 - x0 - (x1 - x0 > 4 ? 0.5 : 0), 1), height);
        if (x1 - x0 > 44) label(ctx, pieceText(state[i], lane.ev[i]), x0, x1, y, height, true);
      }
      i += 1;
      continue;
    }
    const pixel = Math.floor(x0);
    const from = view.time(pixel);
    const to = view.time(pixel + 1);
    const next = Math.max(soonAfter(start, to, i, last), i + 1);
    const ran = (within(lane, lane.ran, i, next, from, to) / (to - from)) * height;
    const queued = (within(lane, lane.queued, i, next, from, to) / (to - from)) * height;
    if (ran > 0) {
      ctx.fillStyle = ink.red;
      ctx.fillRect(pixel, y + height - Math.max(ran, 1), 1, Math.max(ran, 1));
    }
    if (queued > 0) {
      ctx.fillStyle = ink.queued;
      ctx.fillRect(pixel, y + height - Math.max(ran + queued, 1.5), 1, Math.max(queued, 1));
    }
    i = next - 1 > i && view.x(end[next - 1]) - view.x(start[next - 1]) >= 1.5 ? next - 1 : next;
  }
}

/** Says on which M a goroutine runs, or why it has come to wait for a core. */
function pieceText(state, i) {
  const { trace } = app;
  const { K } = trace;
  if (state === RUNNING) return `M${trace.m[i]}`;
  if (trace.kind[i] === K.switch) return why(trace, trace.how[i]);
  const by = actor(trace, i);
  if (trace.kind[i] === K.create) return by ? `created by ${gName(trace, by)}` : 'created';
  if (trace.kind[i] === K.put) return 'put back';
  return trace.how[i] === 0 && by ? `readied by ${gName(trace, by)}` : trace.how[i] === 1 ? 'readied by a timer' : 'readied';
}

/** Draws the length of a queue as an area, `most` as high as `height`. */
function drawLength(ctx, series, view, y, height, most, colour) {
  if (!series.size || !most) return;
  ctx.fillStyle = colour;
  const right = Math.ceil(view.left + view.width);
  let hint = 0;
  let since = 0;
  let level = 0;
  for (let x = Math.floor(view.left); x < right; x++) {
    const from = view.time(x);
    const to = view.time(x + 1);
    if (to < series.at[0]) continue;
    if (from > app.trace.end) break;
    const begin = hint ? soonAfter(series.at, from, hint, series.size) - 1 : Math.max(after(series.at, from, 0, series.size) - 1, 0);
    hint = soonAfter(series.at, to, begin, series.size);
    const value = greatest(series, begin, hint);
    const tall = value ? Math.max(Math.round((value / most) * height), 1) : 0;
    if (tall === level) continue;
    // Columns of one height are one box.
    if (level) ctx.fillRect(since, y + height - level, x - since, level);
    since = x;
    level = tall;
  }
  const stop = Math.min(right, Math.ceil(view.x(app.trace.end)));
  if (level) ctx.fillRect(since, y + height - level, stop - since, level);
}

/** Writes a text into a box, cut to its width. */
function label(ctx, text, x0, x1, y, height, inBox, behind) {
  const room = Math.floor((x1 - x0 - 8) / 6.2);
  if (room < 2) return;
  const cut = text.length > room ? `${text.slice(0, room - 1)}…` : text;
  if (behind) {
    ctx.fillStyle = behind;
    ctx.fillRect(x0 + 6, y, cut.length * 5.9 + 6, height);
  }
  ctx.fillStyle = inBox ? ink.paper : ink.muted;
  ctx.textBaseline = 'middle';
  ctx.fillText(cut, x0 + (inBox ? 4 : 9), y + height / 2 + 0.5);
}
