// The window of time that the timelines show, and the ways to move it.

/** The shortest window, in nanoseconds. */
const SHORTEST = 40;

class View {
  constructor(trace) {
    this.begin = trace.begin;
    this.end = trace.end;
    this.from = trace.begin;
    this.to = trace.end;
    this.left = 0;
    this.width = 1;
    this.whole();
  }

  get span() {
    return this.to - this.from;
  }

  /** Returns the column of the moment `t`. */
  x(t) {
    return this.left + ((t - this.from) / (this.to - this.from)) * this.width;
  }

  /** Returns the moment at the column `x`. */
  time(x) {
    return this.from + ((x - this.left) / this.width) * (this.to - this.from);
  }

  /** Shows `[from, to]`, as far as the trace and the shortest window allow. */
  show(from, to) {
    const margin = (this.end - this.begin) * 0.01;
    const longest = this.end - this.begin + 2 * margin;
    const span = clamp(to - from, SHORTEST, longest);
    const middle = (from + to) / 2;
    this.from = clamp(middle - span / 2, this.begin - margin, this.end + margin - span);
    this.to = this.from + span;
  }

  whole() {
    this.show(this.begin - this.end, 2 * this.end);
  }

  /** Shows the whole run, without an idle begin that takes up a tenth of it. */
  active(first) {
    if (first - this.begin > (this.end - this.begin) / 10) this.show(first - (this.end - first) * 0.02, this.end);
    else this.whole();
  }

  /** Makes the window `factor` times as long; the moment `t` keeps its column. */
  zoom(factor, t = (this.from + this.to) / 2) {
    const span = clamp(this.span * factor, SHORTEST, (this.end - this.begin) * 1.02);
    const share = (t - this.from) / this.span;
    this.show(t - share * span, t + (1 - share) * span);
  }

  /** Moves the window by a share of its length. */
  pan(share) {
    const by = share * this.span;
    this.show(this.from + by, this.to + by);
  }

  /** Moves the window so that the moment `t` is in sight. */
  reveal(t) {
    if (t < this.from + this.span * 0.05 || t > this.to - this.span * 0.05) {
      this.show(t - this.span / 2, t + this.span / 2);
    }
  }

  /** Returns the marks of a ruler, about `wish` columns apart, and how to write one. */
  marks(wish = 110) {
    const rough = (this.span * wish) / this.width;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = Math.max(1, [1, 2, 5, 10].map((k) => k * power).find((k) => k >= rough) ?? 10 * power);
    const marks = [];
    for (let t = Math.ceil(this.from / step) * step; t <= this.to; t += step) marks.push(t);
    // Far from the begin, a mark is written as a distance from a round moment.
    const base = step * 1e4 < this.from ? Math.floor(this.from / (step * 1e3)) * step * 1e3 : 0;
    const [unit, name] = [[1e9, 's'], [1e6, 'ms'], [1e3, 'µs'], [1, 'ns']].find(([size]) => (base ? step * 1e3 : this.to) > size) ?? [1, 'ns'];
    const places = Math.max(0, Math.ceil(-Math.log10(step / unit) - 1e-9));
    return { step, marks, base, text: (t) => `${base ? '+' : ''}${((t - base) / unit).toFixed(places)} ${name}` };
  }
}
