// Regions and tasks of the program, as spans on the lane of their goroutine.
//
//   parse ─────────────────────────      level 0
//       sum ────    sum ──────           level 1
//
// A region is a span of the goroutine that entered it. Its end is that of the innermost open one. A
// task is a span of the goroutine that began it, until any goroutine ends it. A span takes the
// first level that is free, so the spans of one level do not overlap. Where none is free the span is
// left out: the panel of the goroutine lists it nevertheless.

/** The levels that a lane has room for. */
const LEVELS = 6;

/** The height of a level. */
const LEVEL = 13;

/** The spans of one level. */
class Level {
  constructor() {
    Object.assign(this, { start: [], end: [], name: [], isTask: [] });
  }

  get isOpen() {
    return this.end.length > 0 && this.end[this.end.length - 1] === Infinity;
  }
}

/** Collects the spans: for each goroutine that has some, its levels. */
function readSpans(trace, notes) {
  const { K, kind, time, a, extra, strings } = trace;
  const all = new Map();
  const regions = new Map();
  const tasks = new Map();
  const begin = (g, i, isTask) => {
    if (!all.has(g)) all.set(g, []);
    const levels = all.get(g);
    let level = levels.find((one) => !one.isOpen);
    if (!level && levels.length === LEVELS) return null;
    if (!level) levels.push(level = new Level());
    level.start.push(time[i]);
    level.end.push(Infinity);
    level.name.push(strings[extra[i]] ?? '');
    level.isTask.push(isTask);
    return level;
  };
  const end = (level, i) => { if (level) level.end[level.end.length - 1] = time[i]; };
  for (let at = 0; at < notes.ev.length; at++) {
    const [i, g] = [notes.ev[at], notes.g[at]];
    if (kind[i] === K.region_begin) {
      if (!regions.has(g)) regions.set(g, []);
      regions.get(g).push(begin(g, i, false));
    } else if (kind[i] === K.region_end) {
      end(regions.get(g)?.pop(), i);
    } else if (kind[i] === K.task_begin) {
      tasks.set(a[i], begin(g, i, true));
    } else if (kind[i] === K.task_end) {
      end(tasks.get(a[i]), i);
      tasks.delete(a[i]);
    }
  }
  // Those that the trace's end cuts off.
  for (const levels of all.values()) for (const level of levels) if (level.isOpen) level.end[level.end.length - 1] = trace.end;
  return all;
}

/** Returns the height that the spans of goroutine `g` take. */
function spansHeight(g) {
  return (app.spans.get(g)?.length ?? 0) * LEVEL;
}

/** Draws the spans of a goroutine below each other. */
function drawSpans(ctx, g, view, y) {
  const right = view.left + view.width;
  app.spans.get(g)?.forEach(({ start, end, name, isTask }, level) => {
    const top = y + level * LEVEL;
    const size = start.length;
    let i = Math.max(after(start, view.from, 0, size) - 1, 0);
    while (i < size && start[i] < view.to) {
      const x0 = Math.max(view.x(start[i]), view.left);
      const x1 = Math.min(view.x(end[i]), right);
      if (x1 > view.left) {
        ctx.globalAlpha = 0.3;
        ctx.fillStyle = isTask[i] ? ink.p : ink.focus;
        ctx.fillRect(x0, top, Math.max(x1 - x0 - 1, 1), LEVEL - 2);
        ctx.globalAlpha = 1;
        ctx.fillRect(x0, top, 1, LEVEL - 2);
        ctx.save();
        ctx.fillStyle = ink.text;
        spanName(ctx, name[i], x0, x1, top);
        ctx.restore();
      }
      // One span a pixel is enough.
      i = x1 - x0 < 1 ? Math.max(soonAfter(start, view.time(Math.floor(x0) + 1), i, size), i + 1) : i + 1;
    }
  });
}

function spanName(ctx, name, x0, x1, top) {
  const room = Math.floor((x1 - x0 - 6) / 6);
  if (room < 2) return;
  ctx.textBaseline = 'middle';
  ctx.fillText(name.length > room ? `${name.slice(0, room - 1)}…` : name, x0 + 4, top + LEVEL / 2);
}

/** Returns the names of the spans that goroutine `g` is in at the moment `t`, the outermost first. */
function spansAt(g, t) {
  return (app.spans.get(g) ?? []).flatMap(({ start, end, name }) => {
    const i = after(start, t, 0, start.length) - 1;
    return i >= 0 && t < end[i] ? [name[i]] : [];
  });
}
