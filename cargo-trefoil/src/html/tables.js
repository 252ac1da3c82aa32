// Tables: sortable ones in general, goroutines by spawn site, and the list of goroutines.

/** The rows that a table shows; the count above it says how many there are. */
const MOST_ROWS = 500;

/** How each table is sorted: its column, and whether the greatest is first. */
const sorting = {};

/**
 * Makes a table. A column is `[title, value of a row, element of a row, what the column means]`.
 * Its head is a button that sorts. A group is `[title, number of columns]`.
 */
function sortable(id, columns, rows, by = 0, groups = null) {
  const chosen = (sorting[id] ??= { by, down: true });
  const holder = el('div', { class: 'table', id: `table-${id}`, tabIndex: 0, role: 'region', 'aria-label': `Table: ${id}` });
  const draw = () => {
    const value = columns[chosen.by][1];
    const order = rows.slice().sort((x, y) => {
      const [one, two] = [value(x), value(y)];
      const rank = typeof one === 'string' ? one.localeCompare(two) : one - two;
      return chosen.down ? -rank : rank;
    });
    holder.replaceChildren(el('table', {},
      el('thead', {}, groups && el('tr', { class: 'groups' }, groups.map(([title, span]) => el('th', { scope: 'colgroup', colSpan: span }, title))), el('tr', {}, columns.map(([title, , , meaning], at) => el('th', { scope: 'col', title: meaning, 'aria-sort': at === chosen.by ? (chosen.down ? 'descending' : 'ascending') : 'none' },
        el('button', { type: 'button', onclick: () => {
          chosen.down = chosen.by === at ? !chosen.down : true;
          chosen.by = at;
          draw();
          holder.querySelectorAll('th button')[at].focus();
        } }, title))))),
      el('tbody', {}, order.slice(0, MOST_ROWS).map((row) => el('tr', {}, columns.map(([, of, show]) => {
        const shown = show ? show(row) : of(row);
        return el('td', { class: typeof of(row) === 'number' && !(shown instanceof Node) ? 'number' : '' }, typeof shown === 'number' ? count(shown) : shown);
      }))))));
    if (rows.length > MOST_ROWS) holder.append(el('p', { class: 'note' }, `The first ${count(MOST_ROWS)} of ${count(rows.length)} rows. The filter finds the others.`));
  };
  draw();
  return holder;
}

/** Makes the link that selects a goroutine: a link, unlike a button, breaks with its sentence. */
function gButton(g, text) {
  if (!g) return el('span', {}, 'g0');
  const { id } = app.trace.gs[g];
  const choose = (event) => {
    event.preventDefault();
    app.select(g);
  };
  return el('a', { class: 'g', href: `#g=${id}`, 'data-g': id, onclick: choose }, text ?? gName(app.trace, g));
}

/** The figures of a list of times: count, least, mean, 99th percentile, greatest and sum. */
function figures(times) {
  const all = Float64Array.from(times).sort();
  const sum = all.reduce((total, time) => total + time, 0);
  const size = all.length;
  if (!size) return { size, min: 0, avg: 0, p99: 0, max: 0, sum };
  return { size, min: all[0], avg: sum / size, p99: all[Math.min(Math.ceil(size * 0.99), size) - 1], max: all[size - 1], sum };
}

/** Collects the times of all goroutines by spawn site. */
function bySite() {
  const { trace, gs } = app;
  const sites = new Map();
  for (let g = 1; g < trace.gs.length; g++) {
    if (!app.matches(g) || gs.first[g] === gs.first[g + 1]) continue;
    const { site, fn } = trace.gs[g];
    const key = site * trace.strings.length + fn;
    const row = sites.get(key) ?? { site, fn, g, count: 0, run: [], wait: [], sleep: [] };
    row.count += 1;
    for (let i = gs.first[g]; i < gs.first[g + 1]; i++) {
      const list = [null, row.wait, row.run, row.sleep][gs.state[i]];
      // A piece that the trace's end cuts off is not known whole.
      if (list && gs.end[i] < trace.end) list.push(gs.end[i] - gs.start[i]);
    }
    sites.set(key, row);
  }
  return [...sites.values()].map((row) => ({ ...row, run: figures(row.run), wait: figures(row.wait), sleep: figures(row.sleep) }));
}

/** Makes a spot in the colour that the timelines give to the spawn site of `g`. */
function swatch(g) {
  const spot = el('i', { class: 'hue' });
  spot.style.background = siteColour(g);
  return spot;
}

/** Builds the table of spawn sites. */
function showSites() {
  const { trace } = app;
  const rows = bySite();
  const meanings = {
    run: 'from the moment a core takes the goroutine to the moment the goroutine leaves it',
    wait: 'from the moment the goroutine can run to the moment a core takes it',
    sleep: 'from the moment the goroutine begins to wait for something to the moment it is readied',
  };
  const columns = [
    ['spawned at', (row) => trace.strings[row.site] || 'unknown', (row) => el('button', { type: 'button', class: 'site', title: 'Filter by this place', onclick: () => app.setFilter(`site:${trace.strings[row.site]}`) },
      swatch(row.g), trace.strings[row.site] || 'unknown'), 'The line that created these goroutines'],
    ['function', (row) => trace.strings[row.fn] || '–', null, 'The function that these goroutines run'],
    ['G’s', (row) => row.count, null, 'Goroutines'],
  ];
  for (const what of ['run', 'wait', 'sleep']) {
    columns.push(['sum', (row) => row[what].sum, (row) => duration(row[what].sum), `Sum of all times: ${meanings[what]}`]);
    columns.push(['n', (row) => row[what].size, null, `Number of times: ${meanings[what]}`]);
    for (const name of ['min', 'avg', 'p99', 'max']) {
      columns.push([name, (row) => row[what][name], (row) => (row[what].size ? duration(row[what][name]) : '–'), `${name} of a time: ${meanings[what]}`]);
    }
  }
  part('view-sites').replaceChildren(
    el('h2', {}, 'By spawn site'),
    el('p', { class: 'note' }, 'Each figure is about single times, not about whole goroutines. ',
      el('b', {}, 'run'), `: ${meanings.run}. `, el('b', {}, 'wait'), `: ${meanings.wait}. `, el('b', {}, 'sleep'), `: ${meanings.sleep}. `,
      'A time that the trace’s end cuts off does not count.'),
    sortable('sites', columns, rows, 3, [['', 3], ['run', 6], ['wait', 6], ['sleep', 6]]),
  );
  app.siteRows = rows;
}

/** Builds the list of goroutines. */
function showList() {
  const { trace, gs } = app;
  const rows = [];
  for (const g of timeline.order) {
    const [from, to] = [gs.first[g], gs.first[g + 1]];
    const run = gs.ran[to] - gs.ran[from];
    const wait = gs.queued[to] - gs.queued[from];
    const whole = (gs.state[to - 1] === GONE ? gs.start[to - 1] : trace.end) - gs.start[from];
    let turns = 0;
    for (let i = from; i < to; i++) turns += gs.state[i] === RUNNING ? 1 : 0;
    rows.push({ g, run, wait, sleep: Math.max(whole - run - wait, 0), turns, state: gs.state[to - 1], born: gs.start[from] });
  }
  part('view-list').replaceChildren(
    el('h2', {}, 'Goroutines'),
    el('p', { class: 'note' }, 'Times are sums over the goroutine’s life within the trace.'),
    sortable('goroutines', [
      ['goroutine', (row) => trace.gs[row.g].id, (row) => gButton(row.g)],
      ['function', (row) => trace.strings[trace.gs[row.g].fn] || '–'],
      ['spawned at', (row) => trace.strings[trace.gs[row.g].site] || '–'],
      ['first seen', (row) => row.born, (row) => duration(row.born)],
      ['ran', (row) => row.run, (row) => duration(row.run), 'Time on a core'],
      ['turns', (row) => row.turns, null, 'How often a core took it'],
      ['waited for a core', (row) => row.wait, (row) => duration(row.wait), 'Time in queues'],
      ['slept', (row) => row.sleep, (row) => duration(row.sleep), 'Time in which it waited for something else'],
      ['at the end', (row) => STATE_NAMES[row.state]],
    ], rows, 6),
  );
}
