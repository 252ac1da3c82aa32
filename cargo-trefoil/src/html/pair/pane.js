// One of the two runs: its views in a shadow root of their own, and the way from a position to them.
//
// A *position* means the same in both runs. It is the time since the first program event, or the
// share of the run between that event and the end. Times of a pane count from its first program
// event, so events of the boot have negative ones.

/** The kinds of events whose `b` is a time. */
const TIMED = ['rest', 'arm', 'timer_set', 'timer_fired', 'timer_cancel'];

class Pane {
  constructor(number, run) {
    this.number = number;
    this.letter = 'AB'[number];
    this.run = run;
    this.chosen = 0;
    /** The moment that both panes know of. */
    this.seen = 0;
    this.holder = byId(`pane-${this.letter}`);
    this.root = this.holder.attachShadow({ mode: 'open' });
    this.root.append(byId('style').cloneNode(true), byId('pane').content.cloneNode(true));
    this.page = makePage(this.root, this.host());
    this.app = this.page.app;
    this.replay = this.page.replay;
  }

  /** Makes what the views ask of the page around them. */
  host() {
    return {
      changed: () => follow(this),
      stepped: () => this.showWhere(),
      filtered: () => {},
      // The lanes of both panes begin at the same place.
      isWide: () => pair.panes[0].holder.clientWidth >= 600,
      say: (text) => { if (!pair.busy) speak(`${this.letter}: ${text}`); },
    };
  }

  /** Reads the trace, and computes what the views need. */
  async read() {
    const trace = await this.page.readData(byId(`data-${this.letter}`));
    setZero(trace, this.run.first);
    this.app.take(trace);
    this.trace = trace;
    this.end = trace.end;
    this.readTwins();
  }

  /** Builds the views. */
  build() {
    const part = (id) => this.root.getElementById(id);
    const { name, options } = this.run;
    part('name').replaceChildren(el('b', {}, this.letter), name);
    part('options').replaceChildren(...(options.length ? options.map((option) => el('code', {}, option)) : [el('span', { class: 'note' }, 'no option of its own')]));
    this.app.build();
    for (const event of ['pointerdown', 'focusin']) this.holder.addEventListener(event, () => { pair.active = this; });
  }

  /** Returns the position of the moment `t`. */
  position(t) {
    return pair.by === 'time' ? t : t / this.end;
  }

  /** Returns the moment at position `x`. */
  moment(x) {
    return pair.by === 'time' ? x : x * this.end;
  }

  /** Counts the events before position `x`, and those at it if `isWithin`. */
  count(x, isWithin) {
    const { time, total } = this.trace;
    let [from, to] = [0, total];
    while (from < to) {
      const middle = (from + to) >>> 1;
      const at = this.position(time[middle]);
      if (at < x || isWithin && at === x) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  /** Makes position `x` the present one. */
  go(x, isWithin = true) {
    this.seen = this.moment(x);
    this.app.go(this.count(x, isWithin) - 1, false, this.seen);
  }

  /** Returns the position of event `i`. */
  at(i) {
    return this.position(this.trace.time[i]);
  }

  /** Shows the window that the other pane shows. */
  showAs(other) {
    const { from, to } = other.app.view;
    this.app.view.show(this.moment(other.position(from)), this.moment(other.position(to)));
    this.app.draw();
  }

  /** Says in the head how far the run has come. */
  showWhere() {
    const { at } = this.replay;
    const { total, time } = this.trace;
    const where = at ? `event ${count(at)} of ${count(total)} · ${duration(time[at - 1])}` : 'before the first event';
    this.root.getElementById('where').textContent = this.app.now() >= this.end ? `the end, after ${duration(this.end)}` : where;
  }

  /**
   * Groups the goroutines by name, function and place, in the order of their creation. Those of one
   * place get one colour in both panes.
   */
  readTwins() {
    const { gs, strings } = this.trace;
    this.byId = new Map();
    this.alike = new Map();
    this.rank = new Uint32Array(gs.length);
    const order = gs.map((_, g) => g).slice(1).sort((x, y) => gs[x].created - gs[y].created || gs[x].id - gs[y].id);
    for (const g of order) {
      const key = JSON.stringify([gs[g].name, strings[gs[g].fn], strings[gs[g].site]]);
      if (!this.alike.has(key)) this.alike.set(key, []);
      const alike = this.alike.get(key);
      this.rank[g] = alike.length;
      alike.push(g);
      this.byId.set(gs[g].id, g);
      gs[g].key = key;
      const place = strings[gs[g].site] || strings[gs[g].fn];
      if (!pair.hues.has(place)) pair.hues.set(place, pair.hues.size);
      gs[g].hue = pair.hues.get(place);
    }
  }

  /**
   * Returns the goroutine that does here what `g` does in the other run; 0: none. It has the same
   * name, function and place of creation. Among several it has the same number, or else the same
   * place in the order of creation: cores take numbers in batches, so these depend on the run.
   */
  twin(other, g) {
    if (!g) return 0;
    const { id, key } = other.trace.gs[g];
    const same = this.byId.get(id);
    if (same && this.trace.gs[same].key === key) return same;
    return this.alike.get(key)?.[other.rank[g]] ?? 0;
  }

  /** Chooses the goroutine that the other pane has chosen. */
  chooseAs(other) {
    const g = other.app.selected;
    const own = this.twin(other, g);
    this.app.select(own);
    this.chosen = own;
    const isMissing = g && !own;
    this.root.getElementById('match').textContent = isMissing ? `No goroutine here is like ${other.letter}’s ${other.page.gName(other.trace, g)}.` : '';
  }
}

/** Makes the times of a trace count from `first`. */
function setZero(trace, first) {
  const { time, kind, b, K } = trace;
  const timed = new Uint8Array(256);
  for (const name of TIMED) timed[K[name]] = 1;
  for (let i = 0; i < trace.total; i++) {
    time[i] -= first;
    if (timed[kind[i]]) b[i] -= first;
  }
  trace.begin -= first;
  trace.end = Math.max(trace.end - first, 1);
}
